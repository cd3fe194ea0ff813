"""The price file: what it says is used as it says it, and what is wrong in it is named by file, line and key."""

from pathlib import Path

import pytest

from turnout.errors import ConfigurationError
from turnout.router import price_file
from turnout.router.prices import Pricing, pricing_of

FILE = """
# of our hosted models
currency = "USD"

[models."model-a"]
input = 0.5
cached_input = 0.1
output = 2

[models."model-b:7b"]
input = 1.0
output = 0
"""


def read(tmp_path: Path, text: str) -> price_file.Prices:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return price_file.read(path)


def refused(tmp_path: Path, text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert caught.value.hint
    return caught.value


def test_tokens_cost_what_the_file_says_and_cached_ones_their_own_price(tmp_path: Path) -> None:
    price = pricing_of("model-a", read(tmp_path, FILE))
    assert price.currency == "USD"
    assert price.cost(1_000_000, 0, 0, None) == 0.5
    assert price.cost(1_000_000, 1_000_000, 0, None) == 0.1
    assert price.cost(0, 0, 1_000_000, None) == 2
    assert price.cost(1000, 400, 50, seconds=9.0) == pytest.approx((600 * 0.5 + 400 * 0.1 + 50 * 2) / 1e6)


def test_without_a_price_of_their_own_cached_tokens_cost_what_others_do(tmp_path: Path) -> None:
    price = pricing_of("model-b:7b", read(tmp_path, FILE))
    assert price.cost(1000, 1000, 500, None) == price.cost(1000, 0, 0, None) == 0.001


def test_a_model_that_the_file_does_not_have_has_no_known_cost_and_never_none(tmp_path: Path) -> None:
    price = pricing_of("model-c", read(tmp_path, FILE))
    assert price.cost(1000, 0, 10, seconds=9.0) is None
    assert price.missing == "no price of 'model-c' in prices.toml"
    assert f'add [models."model-c"] with input and output to {tmp_path / "prices.toml"}' in price.remedy


def test_without_a_file_the_cost_is_seconds_of_this_machine_or_not_known() -> None:
    price = pricing_of("model-a", None)
    assert price.cost(1000, 0, 10, seconds=9.0) == 9.0
    assert price.cost(1000, 0, 10, seconds=None) is None
    assert price.missing == "no price of 'model-a' is known"
    assert "--prices" in price.remedy and "TURNOUT_PRICES" in price.remedy


def test_a_record_holds_no_path(tmp_path: Path) -> None:
    price = pricing_of("model-a", read(tmp_path, FILE))
    assert str(tmp_path) not in str(price.record())
    assert Pricing(**price.record()).cost(1000, 0, 10, None) == price.cost(1000, 0, 10, None)


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    assert read(tmp_path, f"\ufeff{FILE.lstrip()}").currency == "USD"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("output = -1", ":4: models.m.output is -1"),
        ("output = nan", ":4: models.m.output is nan"),
        ("output = inf", ":4: models.m.output is inf"),
        ('output = "2"', ":4: models.m.output is '2'"),
        ("output = true", ":4: models.m.output is True"),
        ("ouput = 2", ":4: models.m.ouput is not known here"),
        ("", ":2: models.m has no output"),
        ("output = 1\ncached_input = -0.5", ":5: models.m.cached_input is -0.5"),
        ("output = 1 2", ":4: Expected newline"),
        ("output", ":4: Expected '=' after a key"),
        ("output = 1\n[models.x.1]", ":5: models.x.1 is a table"),
        ("output = 1\n[prices]", ":5: prices is not known here"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_key(tmp_path: Path, wrong: str, named: str) -> None:
    error = refused(tmp_path, f'currency = "USD"\n[models.m]\ninput = 1\n{wrong}\n')
    assert error.message.startswith(f"{tmp_path / 'prices.toml'}{named}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[models.m]\ninput = 1\noutput = 1", ": currency is missing"),
        ("currency = 3\n[models.m]\ninput = 1\noutput = 1", ":1: currency is 3"),
        ('currency = "5 euros"\n[models.m]\ninput = 1\noutput = 1', ":1: currency is '5 euros'"),
        ('currency = "EUR"', ": models is missing"),
        ('currency = "EUR"\nmodels = 7', ":2: models is 7"),
        ('currency = "EUR"\n[models]\nm = 7', ":3: models.m is 7"),
        ('currency = "EUR"\nmodels = {m = {input = 1, output = []}}', ":2: models.m.output is []"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, named: str) -> None:
    assert refused(tmp_path, text).message.startswith(f"{tmp_path / 'prices.toml'}{named}")


def test_hints_say_what_to_do(tmp_path: Path) -> None:
    assert "did you mean 'output'" in refused(tmp_path, 'currency = "X"\n[models.m]\ninput = 1\nouput = 1').hint
    dotted = refused(tmp_path, 'currency = "X"\n[models.m-1.5]\ninput = 1\noutput = 1')
    assert dotted.hint == 'quote a name that has a dot in it: [models."m-1.5"]'


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prices.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"the price file .*prices\.toml can't be read") as caught:
        price_file.read(path)
    assert "TURNOUT_PRICES" in caught.value.hint

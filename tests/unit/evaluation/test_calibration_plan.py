"""Which sizes are measured, what is refused with which hint, and what it will take."""

import random
import re

import pytest

from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError
from turnout.router.calibration.plan import choose_sizes, estimate, weights
from turnout.router.calibration.synthetic import filler_of, make_document
from turnout.router.calibration.window import Design
from turnout.router.profile import ModelProfile

count = FakeEngine().count_text


def _texts() -> list[str]:
    source = random.Random(5)
    words = "wind river paper cloud winter window letter garden evening market bridge valley".split()
    return [". ".join(" ".join(source.choices(words, k=12)).capitalize() for _ in range(300)) + "."]


TEXTS = _texts()


def test_sizes_are_geometric_up_to_what_fits() -> None:
    text = [TEXTS[0] * 3]
    assert choose_sizes(8000, text, count) == (256, 512, 1024, 2048, 4096, 8000)
    assert choose_sizes(30_000, text, count)[-1] == 8192
    assert choose_sizes(30_000, text, count, max_size=2100) == (256, 512, 1024, 2100)
    assert choose_sizes(8000, text, count, sizes=(1024, 300)) == (300, 1024)
    assert choose_sizes(8000, text, count, sizes=(1024, 300, 512), max_size=600) == (300, 512)


def hint_of(largest: int, texts: list[str], **options) -> str:
    with pytest.raises(ConfigurationError) as refused:
        choose_sizes(largest, texts, count, **options)
    return str(refused.value)


def test_sizes_that_do_not_fit_are_refused_with_what_would() -> None:
    assert "room for 4,000\nhint: sizes up to 4000" in hint_of(4000, TEXTS, sizes=(256, 5000))
    assert "room for 4,000\nhint: at most --max-size 4000" in hint_of(4000, TEXTS, max_size=5000)
    assert "--sizes and --max-size leave: 256\n" in hint_of(4000, TEXTS, sizes=(256,))
    assert "up to 200 tokens are: none\n" in hint_of(200, TEXTS)
    assert "sizes begin at 256" in hint_of(4000, TEXTS, sizes=(200, 512))
    for size in (256, 319):
        assert f"up to {size} tokens are: {size}\nhint: the default sizes need room for 320" in hint_of(
            4000, TEXTS, max_size=size
        )
    assert choose_sizes(4000, TEXTS, count, max_size=320) == (256, 320)
    assert "in filler of " in hint_of(8000, [TEXTS[0][:1500]], must_fill=False)
    short = [TEXTS[0][:4000]]
    assert choose_sizes(8000, short, count, must_fill=False)[-1] < 1100


def test_the_size_that_a_hint_names_can_be_measured() -> None:
    short = [TEXTS[0][:4000]]
    named = int(re.search(r"--max-size (\d+)$", hint_of(8000, short, max_size=5000))[1])
    sizes = choose_sizes(8000, short, count, max_size=named)
    assert sizes[-1] == named
    for seed in (1, 2):
        make_document(filler_of(short), count, size=named, seed=seed, index=0, kinds=("needle",), questions=1)
    named = int(re.search(r"sizes up to (\d+)$", hint_of(8000, short, sizes=(256, 5000)))[1])
    assert choose_sizes(8000, short, count, sizes=(256, named)) == (256, named)


def test_a_max_size_over_the_sizes_named_asks_for_no_longer_texts() -> None:
    assert choose_sizes(8000, [TEXTS[0][:4000]], count, sizes=(256, 512), max_size=5000) == (256, 512)


def test_the_estimate_is_the_sum_over_prompts() -> None:
    design = Design(("needle", "multi"), (300, 500), (1,), 2, 5)
    profile = ModelProfile(1e-3, 0.0, 0.1, 0.0, measured="2026-01-01")
    each = estimate(design, 40, profile)
    # 4 documents of 10 questions; a prompt is its document and 40 tokens more, an answer 10 tokens of 0.1 s.
    assert (each.prompts, each.prompt_tokens) == (40, 2 * 10 * (340 + 540))
    assert each.seconds == pytest.approx(2 * 10 * (0.34 + 0.54) + 40 * 1.0)
    once = estimate(design, 40, profile, reads_once=True)
    assert once.prompt_tokens == 2 * (300 + 500) + 40 * 40
    assert once.seconds == pytest.approx(2 * 0.8 + 40 * 0.04 + 40 * 1.0)
    assert estimate(design, 40, ModelProfile(1e-3, 0.0, 0.1, 0.0)).seconds is None
    assert (each.kept, once.kept) == (0, 0)
    # Both documents of 300 are answered: 2 of 500 are left.
    rest = estimate(design, 40, profile, known={(1, 300, 0), (1, 300, 1)})
    assert (rest.prompts, rest.prompt_tokens, rest.kept) == (20, 2 * 10 * 540, 20)
    assert rest.seconds == pytest.approx(2 * 10 * (0.54 + 1.0))
    # A document of 10 questions in seconds; by documents where nothing was measured.
    assert weights(design, 40, profile) == {300: pytest.approx(13.4), 500: pytest.approx(15.4)}
    assert weights(design, 40, ModelProfile(1e-3, 0.0, 0.1, 0.0)) == {300: 1, 500: 1}

"""What a reader looks at, in runs: within the budget, word for word, whatever the text is."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.compression.draft import AROUND_TOKENS, WORD, DraftCompressor, strongest
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.selection import Target
from turnout.documents import Span
from turnout.errors import Cancelled, ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.types import ModelInfo, Part

_TOKEN = re.compile(r"\s?\w{1,4}|\s?[^\w\s]|\s")
RAIN = "Rain fell on the slate roofs. "
NEEDLE = "Marta mended the lamp on 1893-04-17 for 12345.67 crowns. "


class Looking:
    """Looks at tokens that share their letters with the question; some tokens are parts of words, as models' are."""

    def __init__(self, window: int = 4000) -> None:
        self.model = ModelInfo("looking", window, "looking")
        self.names: dict[str, int] = {}
        self.windows: list[int] = []

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = list(_TOKEN.finditer(text))
        return [self.names.setdefault(each[0], len(self.names)) for each in found], [each.span() for each in found]

    def importance(self, ids: Sequence[int], question: str, watch: Watch | None = None) -> list[float]:
        self.windows.append(len(ids))
        (watch or Watch()).read(len(ids))
        names = list(self.names)
        wanted = {word[:4].lower() for word in re.findall(r"\w{4,}", question)}
        return [0.9 if names[token].strip().lower() in wanted else 0.0 for token in ids]


def count(text: str) -> int:
    return len(_TOKEN.findall(text))


def part(text: str, start: int = 0, name: str = "doc") -> Part:
    return Part(text, Span(name, start, start + len(text)), "Lamps")


def kept(text: str, most: int, question: str = "when was the lamp mended?", **options: int) -> list[str]:
    compressor = DraftCompressor(Looking(), count, **options)
    return [each.text for each in compressor.compress(question, [part(text)], Target(max_tokens=most))]


@pytest.mark.parametrize("before", [0, 7, 40, 200])
def test_what_the_question_looks_at_is_kept_wherever_it_stands(before: int) -> None:
    text = RAIN * before + NEEDLE + RAIN * (200 - before)
    found = kept(text, 80, window_tokens=100)
    assert any("lamp on 1893-04-17" in each for each in found)
    if before > 20:
        assert not any("1893" in each for each in kept(text, 80, "where is the slate roof?"))


def test_pieces_are_of_the_source_and_end_at_words() -> None:
    text = RAIN * 30 + NEEDLE + RAIN * 30
    for most in (3, 9, 20, 50):
        compressor = DraftCompressor(Looking(), count, pool_tokens=1, neighbour_tokens=3)
        found = compressor.compress("when was the lamp mended?", [part(text, 50)], Target(max_tokens=most))
        assert 0 < sum(count(each.text) for each in found) <= most
        words = set(re.findall(r"\S+", text))
        for each in found:
            assert each.text == text[each.span.start - 50 : each.span.end - 50]
            assert set(each.text.split()) <= words, "no word and no number is cut"


def test_a_strong_token_brings_those_around_it_before_weaker_ones_come() -> None:
    values = np.zeros(400)
    values[[100, 300]] = 0.9, 0.5
    (few,) = strongest([values], 5, 32, 32)
    assert few.tolist() == [98, 99, 100, 101, 102]
    (found,) = strongest([values], 64, 32, 32)
    assert found.tolist() == list(range(69, 133)), "its pool of 32 with 16 on each side"
    (both,) = strongest([values], 80, 32, 32)
    assert {100, 300} <= set(both.tolist()) and len(both) == 80
    assert [len(each) for each in strongest([np.zeros(5), np.zeros(0)], 3, 4, 4)] == [0, 0]
    first, second = strongest([np.array([0.0, 1.0]), np.array([0.0, 0.5])], 3, 1, 4)
    assert first.tolist() == [0, 1] and second.tolist() == [1], "those of another text are no neighbours"


def test_windows_are_of_one_size_and_fit_the_reader() -> None:
    engine = Looking(window=AROUND_TOKENS + 110)
    DraftCompressor(engine, count).compress("lamp?", [part(RAIN * 60), part(RAIN * 5)], Target(max_tokens=50))
    assert max(engine.windows) <= 110
    assert max(engine.windows) - min(engine.windows) <= 1
    assert sum(engine.windows) == count(RAIN * 60) + count(RAIN * 5)


def test_windows_that_were_read_are_not_read_again_and_a_scan_ends_between_them() -> None:
    engine, cache, told = Looking(), MemoryCache(), []
    text = "".join(f"{n} lamps. " for n in range(300))
    compressor = DraftCompressor(engine, count, window_tokens=100, cache=cache)
    watch = Watch(lambda: len(engine.windows) > 3, lambda *each: told.append(each))
    with pytest.raises(Cancelled):
        compressor.compress("lamps?", [part(text)], Target(), watch)
    assert len(engine.windows) == 4 and told[-1][:2] == ("scanning", 3)
    found = compressor.compress("lamps?", [part(text)], Target())
    assert len(engine.windows) == 1 + told[-1][2]
    assert compressor.compress("lamps?", [part(text)], Target()) == found
    assert len(engine.windows) == 1 + told[-1][2]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 30_000,
        "function(a){return a+1};" * 2000,
        "lamp" * 9000,
        "灯は1893年に修理された。雨が降った。" * 400,
        "The lamp. Die Lampe wurde repariert. 灯。 اللمبة " * 200,
        "def f(:\n  lamp = [\n" * 600,
        "\n\n \t\n" * 3000,
        "👩‍👩‍👧‍👦 lamp \u0301\u0301 " * 500,
        "." * 5000,
    ],
)
@pytest.mark.parametrize("question", ["when was the lamp mended?", "灯はいつ?", "?"])
def test_odd_texts(text: str, question: str) -> None:
    for most in (1, 40, 400):
        found = DraftCompressor(Looking(), count).compress(question, [part(text, 9)], Target(max_tokens=most))
        assert sum(count(each.text) for each in found) <= most
        at = 9
        for each in found:
            assert each.span.start >= at and each.text == text[each.span.start - 9 : each.span.end - 9]
            at = each.span.end


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="lamp 1.\né灯", max_size=400), st.integers(0, 60), st.integers(1, 9), st.integers(1, 9))
def test_never_more_than_is_allowed_and_always_the_source(text: str, most: int, pool: int, near: int) -> None:
    compressor = DraftCompressor(Looking(), count, window_tokens=20, pool_tokens=pool, neighbour_tokens=near)
    found = compressor.compress("lamp and lamp", [part(text)], Target(max_tokens=most))
    assert sum(count(each.text) for each in found) <= most
    assert all(each.text == text[each.span.start : each.span.end] and each.text for each in found if text)
    assert [each.span.start for each in found] == sorted(each.span.start for each in found)


def test_nothing_to_leave_out_and_what_can_not_be_meant() -> None:
    compressor = DraftCompressor(Looking(), count)
    given = (part(NEEDLE),)
    assert compressor.compress("lamp?", given, Target(max_tokens=count(NEEDLE))) == given
    assert compressor.compress("lamp?", given, Target(max_tokens=0)) == ()
    assert compressor.compress("lamp?", (), Target()) == ()
    assert not DraftCompressor.quotable
    for options, said in (({"keep": 2}, "keep is 2"), ({"window_tokens": 0}, "window_tokens is 0")):
        with pytest.raises(ConfigurationError, match=said):
            DraftCompressor(Looking(), count, **options)  # type: ignore[arg-type]

    class Broken(Looking):
        def importance(self, ids: Sequence[int], question: str, watch: Watch | None = None) -> list[float]:
            return [float("nan")] * len(ids)

    with pytest.raises(EngineError, match="attention is no number"):
        DraftCompressor(Broken(), count).compress("lamp?", [part(RAIN * 9)], Target(max_tokens=9))
    assert WORD < 100

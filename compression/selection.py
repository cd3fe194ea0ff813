"""From scores to what is kept: units over a threshold or the best that fit, in document order, with their headings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnout.compression.units import Unit
from turnout.errors import ConfigurationError
from turnout.types import Part, Span

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """How much is kept. Every unit of at least `threshold`; of those, where they are over `max_tokens`, the best.

    With `fill` the threshold does not count: the best units that fit `max_tokens` are kept.
    """

    threshold: float = THRESHOLD
    max_tokens: int | None = None
    fill: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigurationError(f"threshold is {self.threshold}, not between 0 and 1")
        if self.max_tokens is not None and self.max_tokens < 0:
            raise ConfigurationError(f"max_tokens is {self.max_tokens}", hint="give 0 or more, or None for no limit")
        if self.fill and self.max_tokens is None:
            raise ConfigurationError("fill needs max_tokens", hint="say how many tokens shall be filled")


@dataclass(frozen=True, slots=True)
class PassageScores:
    """What a scorer says of one passage.

    Attributes:
        relevance: of the whole passage for the question, 0 to 1.
        units: in order.
        scores: of each unit, 0 to 1: how much the answer wants it.
    """

    relevance: float
    units: tuple[Unit, ...]
    scores: tuple[float, ...]


def select(
    parts: Sequence[Part], scored: Sequence[PassageScores], target: Target, count: Callable[[str], int]
) -> tuple[Part, ...]:
    """The parts with what is kept of them; units that follow each other stay one part, byte for byte as in the source.

    Args:
        scored: of each part.
        count: tokens of a text, in the reader's tokenizer.
    """
    ranked = sorted(
        (
            (score, place, number)
            for place, passage in enumerate(scored)
            for number, (unit, score) in enumerate(zip(passage.units, passage.scores, strict=True))
            if not unit.level and (target.fill or score >= target.threshold)
        ),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    left = float("inf") if target.max_tokens is None else target.max_tokens
    kept: list[set[int]] = [set() for _ in parts]
    for _, place, number in ranked:
        wanted = [*_headings(scored[place].units, number), number]
        new = [each for each in wanted if each not in kept[place]]
        tokens = sum(count(_text(parts[place], scored[place].units[each])) for each in new)
        if tokens <= left:
            left -= tokens
            kept[place].update(new)
    return tuple(
        run
        for part, passage, numbers in zip(parts, scored, kept, strict=True)
        for run in _runs(part, passage.units, numbers)
    )


def _headings(units: Sequence[Unit], number: int) -> list[int]:
    """The headings that a unit stands under: the nearest one, and those of higher rank before it."""
    found: list[int] = []
    level = 7
    for before in range(number - 1, -1, -1):
        if units[before].level and units[before].level < level:
            level = units[before].level
            found.append(before)
    return found[::-1]


def _runs(part: Part, units: Sequence[Unit], numbers: set[int]) -> list[Part]:
    """Kept units as parts of their own; neighbours are joined with what stands between them."""
    spans: list[tuple[int, int]] = []
    last = None
    for number in sorted(numbers):
        unit = units[number]
        if last is not None and number == last + 1:
            spans[-1] = (spans[-1][0], unit.end)
        else:
            spans.append((unit.start, unit.end))
        last = number
    if len(numbers) == len(units) > 0:
        return [part]  # all of it, the blanks around it too
    begin = part.span.start
    return [
        Part(part.text[start:end], Span(part.span.document_id, begin + start, begin + end), part.title)
        for start, end in spans
    ]


def _text(part: Part, unit: Unit) -> str:
    return part.text[unit.start : unit.end]

"""From scores to what is kept: units over a threshold or the best that fit, in document order, with their headings."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from turnout.compression.units import BY_RULES, Cuts, Unit
from turnout.documents import Span
from turnout.errors import ConfigurationError
from turnout.types import Part

THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """How much is kept. Every unit of at least `threshold`; of those, where they are over `max_tokens`, the best.

    With `fill` the threshold does not count: the best units that fit `max_tokens` are kept.

    Attributes:
        best_tokens: what the very best unit may take with its headings, where that is more than `max_tokens`; it is
            then kept alone. What is wanted may be one large table.
    """

    threshold: float = THRESHOLD
    max_tokens: int | None = None
    fill: bool = False
    best_tokens: int = 0

    def __post_init__(self) -> None:
        given: dict[str, object] = {
            "threshold": self.threshold,
            "max_tokens": 0 if self.max_tokens is None else self.max_tokens,
        }
        for name, kind in (("threshold", numbers.Real), ("max_tokens", numbers.Integral)):
            if isinstance(given[name], bool) or not isinstance(given[name], kind):
                raise ConfigurationError(f"{name} is {given[name]!r}", hint=f"give {name} as a number")
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


def joined(
    parts: Sequence[Part], scored: Sequence[PassageScores], cuts: Cuts = BY_RULES
) -> tuple[tuple[Part, ...], tuple[PassageScores, ...]]:
    """Parts of which one begins where the other ends become one, so that headings, tables and lists reach across them.

    What is a unit of the whole scores as the best of what it was scored as.

    Args:
        scored: of each part.
        cuts: what cut the parts.
    """
    found = [_one(parts[first:last], scored[first:last], cuts) for first, last in _following(parts)]
    return tuple(part for part, _ in found), tuple(passage for _, passage in found)


def _following(parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    first = 0
    for number in range(1, len(parts) + 1):
        before = parts[number - 1].span
        if number < len(parts):
            span = parts[number].span
            if (span.document_id, span.start) == (before.document_id, before.end):
                continue
        yield first, number
        first = number


def _one(parts: Sequence[Part], scored: Sequence[PassageScores], cuts: Cuts) -> tuple[Part, PassageScores]:
    if len(parts) == 1:
        return parts[0], scored[0]
    text, begin = "".join(part.text for part in parts), parts[0].span.start
    part = Part(text, Span(parts[0].span.document_id, begin, parts[-1].span.end), parts[0].title)
    pieces = [
        (piece.span.start - begin + unit.start, piece.span.start - begin + unit.end, score)
        for piece, passage in zip(parts, scored, strict=True)
        for unit, score in zip(passage.units, passage.scores, strict=True)
    ]
    units = cuts(text)
    scores, first = [], 0
    for unit in units:
        while first < len(pieces) and pieces[first][1] <= unit.start:
            first += 1
        last = first
        while last < len(pieces) and pieces[last][0] < unit.end:
            last += 1
        scores.append(max((score for *_, score in pieces[first:last]), default=0.0))
    return part, PassageScores(max(passage.relevance for passage in scored), units, tuple(scores))


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
    count = functools.cache(count)
    left = most = float("inf") if target.max_tokens is None else target.max_tokens
    kept: list[set[int]] = [set() for _ in parts]
    taken: list[tuple[int, list[int]]] = []
    for rank, (_, place, number) in enumerate(ranked):
        wanted = [*_headings(scored[place].units, number), number]
        new = [each for each in wanted if each not in kept[place]]
        tokens = sum(count(_text(parts[place], scored[place].units[each])) for each in new)
        if tokens <= (left if rank else max(left, target.best_tokens)):
            left -= tokens
            kept[place].update(new)
            taken.append((place, new))
    while True:
        found = tuple(
            run
            for part, passage, each in zip(parts, scored, kept, strict=True)
            for run in _runs(part, passage.units, each)
        )
        room = max(most, target.best_tokens) if len(taken) == 1 else most
        if not taken or sum(count(run.text) for run in found) <= room:
            return found
        # The blanks between neighbours are tokens too: where they are too many, the least wanted goes.
        place, new = taken.pop()
        kept[place].difference_update(new)


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

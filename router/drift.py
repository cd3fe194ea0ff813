"""Whether predictions still hold: seconds against the intervals that they were given, and what is expected of answers
against what the user says of them.

An interval is to hold 80% of what is measured. How often it did is held against that by the binomial law, and the
verdicts against the expected scores by their sum, about normal with the variance of so many coins. What would come by
chance less than once in a hundred times is told. The ledger's own corrections learn from each answer, so that drift is
what they don't keep up with: another machine, another model under the same name, other questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LATEST = 50
"""Answers of a strategy that are looked at."""

LOOKED_AT = 500
"""Answers of the ledger that those are taken from."""

ENOUGH = 20
"""Fewer answers tell nothing."""

INSIDE = 0.8
CHANCE = 0.01
FAR = 2.576
"""Standard deviations that a normal variable is beyond once in a hundred times."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A prediction that does not hold any more.

    Attributes:
        of: "first word", "total" or "quality".
        predicted, measured: shares inside the interval, or mean scores.
        hint: what to do.
    """

    strategy: str
    of: str
    answers: int
    predicted: float
    measured: float
    hint: str

    def __str__(self) -> str:
        if self.of == "quality":
            return (
                f"{self.strategy}: {self.answers} answers that you judged score {self.measured:.2f}, expected were "
                f"{self.predicted:.2f}"
            )
        return (
            f"{self.strategy}: {self.measured:.0%} of the latest {self.answers} answers took as long as predicted "
            f"({self.of}), expected are {self.predicted:.0%}"
        )


def found(records: Sequence[Mapping[str, Any]], judged: Sequence[tuple[Mapping[str, Any], bool]]) -> list[Drift]:
    """What does not hold, by strategy.

    Args:
        records: of the ledger's answers of one model, newest first.
        judged: decisions with whether the answer was good.
    """
    by_strategy: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_strategy.setdefault(record["decision"]["chosen"], []).append(record)
    drifts = []
    for strategy, own in sorted(by_strategy.items()):
        for of, field in (("first word", "ttft"), ("total", "total")):
            drifts += _seconds(strategy, of, [inside for r in own if (inside := _inside(r, field)) is not None])
    return drifts + _quality(judged)


def _inside(record: Mapping[str, Any], name: str) -> bool | None:
    """Whether measured seconds lie in the interval; None where nothing was predicted or nothing was written."""
    chosen = next(c for c in record["decision"]["candidates"] if c["chosen"])
    low, high = chosen.get(f"{name}_low_s"), chosen.get(f"{name}_high_s")
    measured = record["usage"][f"{name}_s"]
    if low is None or high is None or measured is None or not record["usage"]["completion_tokens"]:
        return None
    return bool(low <= measured <= high)


def _seconds(strategy: str, of: str, inside: Sequence[bool]) -> list[Drift]:
    latest = inside[:LATEST]
    number, kept = len(latest), sum(latest)
    if number < ENOUGH or _at_most(kept, number, INSIDE) >= CHANCE:
        return []
    hint = "measure this machine again: turnout calibrate cost"
    return [Drift(strategy, of, number, INSIDE, kept / number, hint)]


def _at_most(kept: int, number: int, share: float) -> float:
    """The chance of so few or fewer, by the binomial law."""
    return sum(math.comb(number, k) * share**k * (1 - share) ** (number - k) for k in range(kept + 1))


def _quality(judged: Sequence[tuple[Mapping[str, Any], bool]]) -> list[Drift]:
    by_strategy: dict[str, list[tuple[float, bool]]] = {}
    for decision, good in judged:
        chosen = next(c for c in decision["candidates"] if c["chosen"])
        if chosen["quality"] is not None:
            by_strategy.setdefault(chosen["strategy"], []).append((chosen["quality"], good))
    drifts = []
    for strategy, pairs in sorted(by_strategy.items()):
        latest = pairs[:LATEST]
        number = len(latest)
        gap = sum(good - expected for expected, good in latest)
        spread = math.sqrt(sum(expected * (1 - expected) for expected, _ in latest))
        if number >= ENOUGH and abs(gap) > FAR * max(spread, 1e-9):
            mean = sum(expected for expected, _ in latest) / number
            hint = "measure strategies on questions like yours: turnout calibrate quality"
            drifts.append(Drift(strategy, "quality", number, mean, mean + gap / number, hint))
    return drifts

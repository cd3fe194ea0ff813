"""The maximum effective context window (MECW) of one kind of task: the test that finds it (Paulsen, arXiv 2509.21361).

With acc(n) the accuracy at documents of n tokens and acc_0 that at the smallest size, H0: acc(n) >= acc_0 - delta is
tested at every larger size, one-sided, by a bootstrap that draws whole documents (the questions on one document are
not independent), with Holm's correction over the sizes. MECW is the largest size such that neither it nor a smaller
one rejects. A fall that the trials are too few to show therefore counts as none: the curve is kept beside the number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DELTA = 0.05
ALPHA = 0.05
FLOOR = 0.2
"""Below this accuracy at the smallest size there is too little to lose: the kind is not measurable for the model."""
DRAWS = 2000
OUTER_DRAWS, INNER_DRAWS = 200, 500
"""Of the interval of MECW: each outer draw is a new set of documents, on which the whole test is run again."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was right at one size, one entry a document: `right` of `trials`."""

    right: Floats
    trials: Floats

    @property
    def accuracy(self) -> float:
        return float(self.right.sum() / self.trials.sum())


@dataclass(frozen=True, slots=True)
class Effective:
    """MECW of one kind of task.

    Attributes:
        mecw: tokens; None where the kind is not measurable, and `reason` says why.
        low, high: 95% interval, bootstrap over documents; sizes, so it is as coarse as they are.
        p_values: of H0 at each size after the smallest, before Holm's correction.
    """

    mecw: int | None
    low: int | None
    high: int | None
    p_values: tuple[float, ...]
    reason: str = ""


def effective_window(
    sizes: Sequence[int], tallies: Sequence[Tally], chance: float = 0.0, *, interval: bool = True, seed: int = 0
) -> Effective:
    """MECW from the results at each size, smallest first.

    Args:
        chance: accuracy of a reader that has not read; acc_0 must be above it beyond doubt.
        interval: also resample the documents for `low` and `high`.
    """
    source = np.random.default_rng(seed)
    p_values = _p_values(tallies, DRAWS, source)
    first = tallies[0].accuracy
    if first < FLOOR:
        reason = f"{first:.0%} right at {sizes[0]:,} tokens, under {FLOOR:.0%}: too little to lose"
        return Effective(None, None, None, p_values, reason)
    if chance and np.quantile(resampled(tallies[0], DRAWS, source), ALPHA) <= chance:
        reason = f"{first:.0%} right at {sizes[0]:,} tokens, not told apart from {chance:.0%} by chance"
        return Effective(None, None, None, p_values, reason)
    mecw = sizes[_last_good(p_values)]
    if not interval:
        return Effective(mecw, None, None, p_values)
    again = [sizes[_last_good(_p_values(_redrawn(tallies, source), INNER_DRAWS, source))] for _ in range(OUTER_DRAWS)]
    low, high = np.quantile(again, [0.025, 0.975], method="nearest")
    return Effective(mecw, int(low), int(high), p_values)


def accuracy_interval(tally: Tally, seed: int = 0) -> tuple[float, float]:
    """95% bootstrap interval of the accuracy over documents."""
    low, high = np.quantile(resampled(tally, DRAWS, np.random.default_rng(seed)), [0.025, 0.975])
    return float(low), float(high)


def resampled(tally: Tally, draws: int, source: np.random.Generator) -> Floats:
    """Accuracy [draws] of as many documents, drawn with replacement."""
    picked = source.integers(len(tally.right), size=(draws, len(tally.right)))
    accuracies: Floats = tally.right[picked].sum(axis=1) / tally.trials[picked].sum(axis=1)
    return accuracies


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses are rejected at family-wise error `alpha` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _p_values(tallies: Sequence[Tally], draws: int, source: np.random.Generator) -> tuple[float, ...]:
    """The share of draws in which acc(n) is not below acc_0 - delta, for each size after the first."""
    base = resampled(tallies[0], draws, source)
    kept = [(resampled(tally, draws, source) >= base - DELTA - 1e-9).sum() for tally in tallies[1:]]
    return tuple(float(1 + number) / (1 + draws) for number in kept)


def _last_good(p_values: Sequence[float]) -> int:
    """Index of the largest size before the first that rejects."""
    rejected = holm(p_values)
    return rejected.index(True) if True in rejected else len(rejected)


def _redrawn(tallies: Sequence[Tally], source: np.random.Generator) -> list[Tally]:
    picks = [source.integers(len(tally.right), size=len(tally.right)) for tally in tallies]
    return [Tally(tally.right[pick], tally.trials[pick]) for tally, pick in zip(tallies, picks, strict=True)]

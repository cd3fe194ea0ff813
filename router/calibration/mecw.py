"""The maximum effective context window (MECW) of one kind of task: the test that finds it (Paulsen, arXiv 2509.21361).

With s(n) the mean score at documents of n tokens and s_0 that at the smallest size, H0: s(n) >= s_0 - delta is tested
at every larger size, one-sided, with Holm's correction over the sizes. A score is right or wrong, or the share that is
right where several things are asked. The bootstrap draws whole documents (the questions on one are not independent),
the same ones at all sizes (they differ in their filler alone, so the comparison is paired). MECW is the largest size
such that neither it nor a smaller one rejects. A fall that the trials are too few to show therefore counts as none: the
curve is kept beside the number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DELTA = 0.05
ALPHA = 0.05
FLOOR = 0.2
"""Below this score at the smallest size there is too little to lose: the kind is not measurable for the model."""
DRAWS = 2000
OUTER_DRAWS, INNER_DRAWS = 200, 500
"""Of the resampling range: each outer draw is a new set of documents, on which the whole test is run again."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was scored at one size, one entry a document: `score`, at most 1 a trial, in `trials`."""

    score: Floats
    trials: Floats

    @property
    def mean(self) -> float:
        return float(self.score.sum() / self.trials.sum())


@dataclass(frozen=True, slots=True)
class Effective:
    """MECW of one kind of task.

    Attributes:
        mecw: tokens; None where the kind is not measurable, and `reason` says why.
        low, high: resampling range: the middle 95% of what the same test finds on as many documents drawn with
            replacement. Not a confidence interval: MECW is the outcome of tests, for which none is promised.
        p_values: of H0 at each size after the smallest, before Holm's correction.
    """

    mecw: int | None
    low: int | None
    high: int | None
    p_values: tuple[float, ...]
    reason: str = ""


def effective_window(
    sizes: Sequence[int], tallies: Sequence[Tally], chance: float = 0.0, *, resample: bool = True, seed: int = 0
) -> Effective:
    """MECW from the results at each size, smallest first.

    Args:
        tallies: of the same documents in the same order at every size.
        chance: score of a reader that has not read; s_0 must be above it beyond doubt.
        resample: also draw the documents anew for `low` and `high`.
    """
    source = np.random.default_rng(seed)
    p_values = _p_values(tallies, DRAWS, source)
    first = tallies[0].mean
    if first < FLOOR:
        reason = f"{first:.0%} right at {sizes[0]:,} tokens, under {FLOOR:.0%}: too little to lose"
        return Effective(None, None, None, p_values, reason)
    low, high = score_interval(tallies[0], level=1 - 2 * ALPHA)
    if chance and low <= chance:
        against = f"below {chance:.0%}" if high < chance else f"not told apart from {chance:.0%}"
        reason = f"{first:.0%} right at {sizes[0]:,} tokens, {against} by chance"
        return Effective(None, None, None, p_values, reason)
    mecw = sizes[_last_good(p_values)]
    if not resample:
        return Effective(mecw, None, None, p_values)
    again = [sizes[_last_good(_p_values(_redrawn(tallies, source), INNER_DRAWS, source))] for _ in range(OUTER_DRAWS)]
    smallest, largest = np.quantile(again, [0.025, 0.975], method="nearest")
    return Effective(mecw, int(smallest), int(largest), p_values)


def score_interval(tally: Tally, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the mean score over documents.

    Where all documents score alike, drawing them shows no spread, and that would claim certainty. Then it is the
    interval of Wilson (1927) with the number of documents as the number of trials.
    """
    scores, documents = tally.score / tally.trials, len(tally.trials)
    if np.ptp(scores) < 1e-9:
        return _wilson(tally.mean, documents, level)
    picks = np.random.default_rng(seed).integers(documents, size=(DRAWS, documents))
    low, high = np.quantile(_means(tally, picks), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _wilson(share: float, trials: int, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses are rejected at family-wise error `alpha` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def _p_values(tallies: Sequence[Tally], draws: int, source: np.random.Generator) -> tuple[float, ...]:
    """The share of draws in which s(n) is not below s_0 - delta, for each size after the first."""
    documents = len(tallies[0].trials)
    picks = source.integers(documents, size=(draws, documents))
    base = _means(tallies[0], picks)
    kept = [(_means(tally, picks) >= base - DELTA - 1e-9).sum() for tally in tallies[1:]]
    return tuple(float(1 + number) / (1 + draws) for number in kept)


def _means(tally: Tally, picks: NDArray[np.int64]) -> Floats:
    """Mean score [draws] of the documents picked, [draws, documents]."""
    means: Floats = tally.score[picks].sum(axis=1) / tally.trials[picks].sum(axis=1)
    return means


def _last_good(p_values: Sequence[float]) -> int:
    """Index of the largest size before the first that rejects."""
    rejected = holm(p_values)
    return rejected.index(True) if True in rejected else len(rejected)


def _redrawn(tallies: Sequence[Tally], source: np.random.Generator) -> list[Tally]:
    documents = len(tallies[0].trials)
    pick = source.integers(documents, size=documents)
    return [Tally(tally.score[pick], tally.trials[pick]) for tally in tallies]

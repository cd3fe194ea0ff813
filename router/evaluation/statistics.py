"""Means over datasets with bootstrap intervals over documents, and whether two strategies can be told apart.

Questions about one document are not independent, so the bootstrap draws whole clusters (documents), and within each
dataset, since the datasets are fixed (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and
13). Where groups share documents, these are drawn once for all groups, within strata. The intervals are percentile
intervals. With few clusters they are too narrow: read those from under about ten documents as a lower bound of the
uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 2000
LEVEL = 0.95

CELLS = 4_000_000
"""Draws times clusters that are held at once, 64 MB."""

Array = npt.NDArray[np.float64]
Scores = Sequence[float] | Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the lower and upper bound of its interval."""

    mean: float
    low: float
    high: float


def macro(scores: Scores, datasets: Sequence[str]) -> float:
    """The mean over datasets of each dataset's mean score.

    Args:
        scores: one per question, shape (questions,).
        datasets: the dataset of each question, shape (questions,).

    Raises:
        ValueError: there are no scores, or the lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or len(values) != len(datasets):
        raise ValueError(f"{len(values)} scores, {len(datasets)} datasets")
    group = np.unique(np.asarray(datasets), return_inverse=True)[1]
    return float(np.mean(np.bincount(group, weights=values) / np.bincount(group)))


def macro_interval(
    scores: Scores,
    clusters: Sequence[str],
    datasets: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    *,
    strata: Sequence[str] | None = None,
) -> Interval:
    """The macro with a bootstrap interval that resamples clusters with replacement within each stratum.

    A dataset's mean in a draw is over the questions of the clusters drawn; one of which nothing was drawn keeps its
    mean. Where a stratum has one cluster only, its questions are resampled instead: the interval then speaks of that
    one document.

    Args:
        scores: one per question, shape (questions,).
        clusters: the unit that each question belongs to, shape (questions,). Within a stratum, equal names are one
            unit, of whatever datasets its questions are: it is drawn with all of them.
        datasets: the dataset of each question, or another group to average over, shape (questions,).
        draws: number of bootstrap samples.
        level: share of the samples inside the interval.
        strata: what clusters are drawn within, shape (questions,); the datasets by default. Where groups share
            clusters, give what the clusters were sampled within, or one stratum for all.

    Raises:
        ValueError: there are no scores, or the lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    strata = datasets if strata is None else strata
    if not len(values) or not len(values) == len(clusters) == len(datasets) == len(strata):
        raise ValueError(
            f"{len(values)} scores, {len(clusters)} clusters, {len(datasets)} datasets, {len(strata)} strata"
        )
    mean = macro(values, datasets)
    group = np.unique(np.asarray(datasets), return_inverse=True)[1]
    layers, units = np.asarray(strata), np.asarray(clusters)
    random = np.random.default_rng(seed)
    sums, sizes = np.zeros((2, group.max() + 1, draws))
    for layer in np.unique(layers):  # sorted, since the order of the rows must not change the draws
        inside = np.flatnonzero(layers == layer)
        groups, column = np.unique(group[inside], return_inverse=True)
        drawn = _drawn(values[inside], units[inside], column, draws, random)
        sums[groups] += drawn[0]
        sizes[groups] += drawn[1]
    observed = np.bincount(group, weights=values) / np.bincount(group)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), observed[:, None])
    low, high = np.quantile(means.mean(axis=0), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def _drawn(
    values: Array, clusters: npt.NDArray[np.str_], group: npt.NDArray[np.intp], draws: int, random: np.random.Generator
) -> Array:
    """Of one stratum, each group's sum of scores and number of questions in each draw, shape (2, groups, draws)."""
    unit = np.unique(clusters, return_inverse=True)[1]
    if not unit.any():
        order = np.lexsort((values, group))
        values, group, unit = values[order], group[order], np.arange(len(values))
    units, groups = int(unit.max()) + 1, int(group.max()) + 1
    cell, cells = group * units + unit, groups * units
    held = np.concatenate([np.bincount(cell, values, cells), np.bincount(cell, None, cells)]).reshape(-1, units)
    drawn = np.empty((2 * groups, draws))
    step = max(1, CELLS // units)
    for start in range(0, draws, step):
        times = random.multinomial(units, np.full(units, 1 / units), size=min(step, draws - start))
        drawn[:, start : start + step] = held @ times.T
    return drawn.reshape(2, groups, draws)


def paired_difference(
    a: Scores,
    b: Scores,
    clusters: Sequence[str],
    datasets: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    *,
    strata: Sequence[str] | None = None,
) -> Interval:
    """The macro of a - b with its interval, question by question on the same questions.

    Args:
        a, b: scores of two strategies, in the same order of questions, shape (questions,).
        strata: as for `macro_interval`.

    Raises:
        ValueError: there are no scores, or the lengths differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} scores against {len(b)}")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return macro_interval(differences, clusters, datasets, draws, seed, level, strata=strata)


def told_apart(difference: Interval) -> bool:
    """Whether zero lies outside the interval."""
    return difference.low > 0 or difference.high < 0


def needed_questions(difference: Interval, questions: int) -> int | None:
    """About how many questions of this kind it takes to tell the observed difference apart, to two figures.

    The half-width of an interval shrinks with the square root of the number of questions, so it equals the difference
    at n * (half-width / |difference|)^2. That takes the observed difference and the questions per document for given.

    Args:
        questions: how many the interval rests on.

    Returns:
        The number, rounded up to two significant digits, or None where the difference is 0.
    """
    if math.isclose(difference.mean, 0, abs_tol=1e-12):
        return None
    half_width = (difference.high - difference.low) / 2
    return _two_figures(questions * (half_width / difference.mean) ** 2)


def _two_figures(value: float) -> int:
    step: int = 10 ** max(0, math.floor(math.log10(max(value, 1))) - 1)
    return max(1, math.ceil(value / step - 1e-9)) * step  # the small amount: 250.00000001 is 250

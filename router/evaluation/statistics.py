"""Means over datasets with bootstrap intervals over documents, and whether two strategies can be told apart.

Questions about one document are not independent, so the bootstrap draws whole clusters (documents), and within each
dataset, since the datasets are fixed (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and
13). The intervals are percentile intervals. With few clusters they are too narrow: read those from under about ten
documents as a lower bound of the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 2000
LEVEL = 0.95

Array = npt.NDArray[np.float64]
Scores = Sequence[float] | Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the lower and upper bound of its interval."""

    mean: float
    low: float
    high: float


def macro(scores_by_dataset: Mapping[str, Sequence[float]]) -> float:
    """The mean over datasets of the mean score.

    Raises:
        ValueError: there is no dataset, or one without scores.
    """
    if not scores_by_dataset or not all(len(scores) for scores in scores_by_dataset.values()):
        raise ValueError("no scores to average")
    return float(np.mean([np.mean(scores) for scores in scores_by_dataset.values()]))


def macro_interval(
    scores: Scores,
    clusters: Sequence[str],
    datasets: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The macro with a bootstrap interval that resamples clusters with replacement within each dataset.

    A drawn dataset's mean is over the questions of the drawn clusters. Where a dataset has one cluster only, its
    questions are resampled instead: the interval then speaks of that one document.

    Args:
        scores: one per question, shape (questions,).
        clusters: the unit that each question belongs to, shape (questions,).
        datasets: the dataset of each question, shape (questions,).
        draws: number of bootstrap samples.
        level: share of the samples inside the interval.

    Raises:
        ValueError: there are no scores, or the three lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values) or not len(values) == len(clusters) == len(datasets):
        raise ValueError(f"{len(values)} scores, {len(clusters)} clusters, {len(datasets)} datasets")
    names = np.asarray(datasets)
    units = np.asarray(clusters)
    random = np.random.default_rng(seed)
    means, samples = [], []
    for name in np.unique(names):  # sorted, since the order of the rows must not change the draws
        inside = names == name
        means.append(values[inside].mean())
        samples.append(_dataset_means(values[inside], units[inside], draws, random))
    low, high = np.quantile(np.mean(samples, axis=0), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(means)), float(low), float(high))


def _dataset_means(values: Array, clusters: npt.NDArray[np.str_], draws: int, random: np.random.Generator) -> Array:
    """The mean of one dataset in each draw, shape (draws,)."""
    names, index = np.unique(clusters, return_inverse=True)
    if len(names) == 1:
        values, index = np.sort(values), np.arange(len(values))
    sums, sizes = np.bincount(index, weights=values), np.bincount(index)
    units = len(sizes)
    times_drawn = random.multinomial(units, np.full(units, 1 / units), size=draws)
    means: Array = (times_drawn @ sums) / (times_drawn @ sizes)
    return means


def paired_difference(
    a: Scores,
    b: Scores,
    clusters: Sequence[str],
    datasets: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The macro of a - b with its interval, question by question on the same questions.

    Args:
        a, b: scores of two strategies, in the same order of questions, shape (questions,).

    Raises:
        ValueError: there are no scores, or the lengths differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} scores against {len(b)}")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return macro_interval(differences, clusters, datasets, draws, seed, level)


def told_apart(difference: Interval) -> bool:
    """Whether zero lies outside the interval."""
    return difference.low > 0 or difference.high < 0


def needed_questions(
    a: Scores,
    b: Scores,
    clusters: Sequence[str],
    datasets: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> int | None:
    """About how many questions of this kind it takes to tell the observed difference apart, to two figures.

    The half-width of an interval shrinks with the square root of the number of questions, so it equals the difference
    at n * (half-width / |difference|)^2. That takes the observed difference and the questions per document for given.

    Returns:
        The number, rounded up to two significant digits, or None where the difference is 0.
    """
    difference = paired_difference(a, b, clusters, datasets, draws, seed, level)
    if math.isclose(difference.mean, 0, abs_tol=1e-12):
        return None
    half_width = (difference.high - difference.low) / 2
    return _two_figures(len(a) * (half_width / difference.mean) ** 2)


def _two_figures(value: float) -> int:
    step: int = 10 ** max(0, math.floor(math.log10(max(value, 1))) - 1)
    return max(1, math.ceil(value / step - 1e-9)) * step  # the small amount: 250.00000001 is 250

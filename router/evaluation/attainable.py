"""What choosing between full and rag could reach at best: a predictor that is told what no router can know.

The per-question oracle picks the better of two answers after seeing their scores, so it also collects the luck in them.
This reference must predict instead: ridge regression of the score difference full - rag, for each model, on the gold
task, the length, the domain and how the OTHER models scored on the same question in both ways. It is fitted on four
fifths of the documents and chooses on the remaining fifth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MissingExtraError

FOLDS = 5
PENALTY = 10.0
"""Picked on LaRA's dev part of eleven variants (ridge with three penalties and three feature sets, and two of gradient
boosting), whose macro scores lie within 0.006 of each other at either length."""

Matrix = NDArray[np.float64]


def prefers_full(
    full: Matrix,
    rag: Matrix,
    tasks: Sequence[str],
    lengths: Sequence[str],
    domains: Sequence[str],
    documents: Sequence[str],
) -> NDArray[np.bool_] | None:
    """Whether full is predicted to score higher, for every question and model, from folds without its document.

    Args:
        full, rag: scores, shape (questions, models); NaN in both where a model lacks an answer.
        tasks, lengths, domains, documents: of each question, shape (questions,); documents of one name stay together.

    Returns:
        Shape (questions, models); None where there are fewer than two models or fewer documents than folds. The folds
        are the same on every call.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise MissingExtraError("the attainable reference", "eval") from error
    questions, models = full.shape
    if models < 2 or len(set(documents)) < FOLDS:
        return None
    known = _known(tasks, lengths, domains)
    chosen = np.zeros((questions, models), dtype=bool)
    for fitted, held_out in GroupKFold(FOLDS).split(known, groups=documents):
        for model in range(models):
            features = np.hstack([known, _others(full, rag, model)])
            difference = full[:, model] - rag[:, model]
            usable = fitted[~np.isnan(difference[fitted])]
            if len(usable):
                predictor = Ridge(PENALTY).fit(features[usable], difference[usable])
                chosen[held_out, model] = predictor.predict(features[held_out]) > 0
    return chosen


def _known(tasks: Sequence[str], lengths: Sequence[str], domains: Sequence[str]) -> Matrix:
    """Indicator columns of task at length, of domain, and of all three together."""
    cells = list(zip(tasks, lengths, strict=True))
    return np.hstack([_indicators(cells), _indicators(domains), _indicators(list(zip(cells, domains, strict=True)))])


def _indicators(names: Sequence[object]) -> Matrix:
    kinds = sorted(set(names), key=str)
    return np.array([[float(name == kind) for kind in kinds] for name in names])


def _others(full: Matrix, rag: Matrix, model: int) -> Matrix:
    """The other models' mean score in both ways and the difference, shape (questions, 3)."""
    means = [_mean(np.delete(scores, model, axis=1)) for scores in (full, rag)]
    return np.column_stack([*means, means[0] - means[1]])


def _mean(scores: Matrix) -> Matrix:
    """Mean of each row without its gaps; the mean of all where a row is nothing but gaps."""
    there = ~np.isnan(scores)
    overall = float(scores[there].mean()) if there.any() else 0.0
    sums, counts = np.where(there, scores, 0.0).sum(axis=1), there.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)

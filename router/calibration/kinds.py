"""Fits the models of `router/kinds.py`: the kind of a question from its wording, and after a search whether the
documents hold its answer at all.

Questions come from several sets, and sets have their own wording and mix of kinds. So a question counts less the more
its set has of its kind (by the square root), and the kinds are then brought to stated shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MissingExtraError
from turnout.router.kinds import KINDS, KindModel, SearchModel, log_odds

SHARES: Mapping[str, float] = {
    "location": 0.30,
    "reasoning": 0.25,
    "comparison": 0.15,
    "summarisation": 0.10,
    "unanswerable": 0.20,
}
"""How often each kind is asked: an assumption, until somebody counts. LaRA's mix is near it, but has no summaries."""

STRENGTH = 0.3
"""C of logistic regression. Of 0.03, 0.3 and 0.5 none is told apart from the others on LaRA."""

Matrix = NDArray[np.float64]


def fit_kinds(features: Matrix, kinds: Sequence[str], sets: Sequence[str], weigh: Mapping[str, float]) -> KindModel:
    """Multinomial logistic regression.

    Args:
        features: `turnout.router.cues.cues` of every question, [questions, features].
        kinds: of every question, one of KINDS.
        sets: the set that it comes from.
        weigh: by set, how much more its questions count than those of other sets.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("fitting kinds of questions", "eval") from error
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    counts = Counter(zip(sets, kinds, strict=True))
    weights = np.array([weigh.get(s, 1.0) / counts[s, kind] ** 0.5 for s, kind in zip(sets, kinds, strict=True)])
    # Fitted on equal shares, so that the rare kinds are learned too; the stated shares are put in afterwards.
    totals = {kind: weights[[k == kind for k in kinds]].sum() for kind in set(kinds)}
    weights = np.array([w / totals[kind] for w, kind in zip(weights, kinds, strict=True)])
    fitted = LogisticRegression(C=STRENGTH, max_iter=5000).fit(
        (features - mean) / scale, list(kinds), sample_weight=weights / weights.mean()
    )
    weights_of, bias = np.zeros((len(KINDS), features.shape[1])), np.full(len(KINDS), -20.0)
    for row, kind in enumerate(fitted.classes_):
        place = KINDS.index(kind)
        weights_of[place], bias[place] = fitted.coef_[row], fitted.intercept_[row] + np.log(SHARES[kind])
    return KindModel(mean, scale, weights_of, bias)


def fit_searched(shares: Matrix, found: Matrix, unanswerable: NDArray[np.bool_]) -> SearchModel:
    """Logistic regression of "no answer in the text" on its odds by the wording and on the search.

    Args:
        shares: by wording, of questions that the model of the wording was not fitted on, [questions, kinds].
        found: `SearchSignals.values` of each, [questions, signals].
        unanswerable: of each, [questions].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("fitting kinds of questions", "eval") from error
    by_wording = log_odds(shares[:, KINDS.index("unanswerable")])
    columns = np.column_stack([by_wording, found])
    mean, scale = columns.mean(axis=0), columns.std(axis=0)
    fitted = LogisticRegression(C=STRENGTH, max_iter=5000).fit((columns - mean) / scale, unanswerable)
    # Fitted on as many unanswerable questions as the data has; brought to the stated share as above.
    stated, given = SHARES["unanswerable"], float(unanswerable.mean())
    shift = np.log(stated / (1 - stated)) - np.log(given / (1 - given))
    return SearchModel(mean, scale, fitted.coef_[0], float(fitted.intercept_[0] + shift))


def to_dict(model: KindModel | SearchModel, digits: int = 4) -> dict[str, Any]:
    """As JSON types."""
    return {name: np.round(getattr(model, name), digits).tolist() for name in type(model).__dataclass_fields__}

"""Fits how likely an outcome is right by its support, and finds out whether asking another strategy gains anything.

Every outcome of a run's strategies is one observation; those of one document are alike and count less, as in
`turnout.router.calibration.quality`. What is told of the result, and whether anything is asked on by default, comes
from folds without the documents that it is told of.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.router.beliefs import Vector
from turnout.router.calibration.folds import folds
from turnout.router.calibration.quality import ALIKE, FOLDS, LEAST_DOCUMENTS, LEAST_QUESTIONS
from turnout.router.evaluation.escalating import Case, cases, play, worth
from turnout.router.evaluation.statistics import Interval, macro, macro_interval
from turnout.router.support import NOT_JUDGED
from turnout.router.support_model import COLUMNS, GRID, WELL, Bound, ByModel, Heads, SupportModel, columns

RIDGE = 1.0
"""Precision of the coefficients before anything is observed, but for the level: a coefficient of 2 is an odd one."""

STEPS = 30
THRESHOLDS = tuple(step / 20 for step in range(1, 20))


@dataclass(frozen=True, slots=True)
class Found:
    """A calibration, None where there was too little; and what is told of it, as JSON types."""

    model: SupportModel | None
    report: dict[str, Any]


def calibrate(rows: Sequence[Mapping[str, Any]]) -> Found:
    """Support from a run's rows.

    Returns:
        The report has the counts of `questions` and `documents`, `lacking` (rows without signals, by strategy), and
        where there is a model `keep_from`, the `gain` in score of asking on with its 95% interval, `seconds` more a
        question, `asked` attempts a question, and the `reliability` of probabilities.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    found, lacking = cases(rows)
    groups = sorted({case.group for case in found})
    told: dict[str, Any] = {"questions": len(found), "documents": len(groups), "lacking": lacking}
    if len(found) < LEAST_QUESTIONS or len(groups) < LEAST_DOCUMENTS:
        return Found(None, told)
    apart = list(by_folds(found))
    heads = {place: fitted for fitted, _, outside in apart for place in outside}
    keep_from = best(found, heads)
    datasets, clusters = [case.dataset for case in found], [case.group for case in found]
    # What is told is of thresholds that were chosen without the documents, too.
    before = [play(case, None) for case in found]
    after = list(before)
    for fitted, inside, outside in apart:
        own = best([found[place] for place in inside], dict.fromkeys(range(len(inside)), fitted))
        for place in outside:
            after[place] = play(found[place], ByModel(fitted, own))
    gained = np.array([now.score - then.score for now, then in zip(after, before, strict=True)])
    gain = macro_interval(gained, clusters, datasets)
    seconds = float(np.mean([now.seconds - then.seconds for now, then in zip(after, before, strict=True)]))
    basis = f"{len(found):,} questions over {len(groups):,} documents measured here"
    model = SupportModel(fit(found), keep_from if gain.low > 0 else None, bound(found), basis)
    return Found(
        model,
        told
        | {
            "keep_from": model.keep_from,
            "gain": _interval(gain),
            "seconds": round(seconds, 3),
            "asked": round(float(np.mean([each.asked for each in after])), 3),
            "reliability": reliability(found, heads),
            "bound_documents": model.bound.documents,
        },
    )


def fit(found: Sequence[Case]) -> Heads:
    """Both regressions over all outcomes of some questions."""
    sizes = Counter(case.group for case in found for _ in case.outcomes)
    right: list[tuple[Vector, float, float]] = []
    nothing: list[tuple[Vector, float, float]] = []
    for case in found:
        weight = 1 / (1 + ALIKE * (sizes[case.group] - 1))
        for outcome in case.outcomes:
            if outcome.support.task == NOT_JUDGED and not outcome.support.abstained:
                continue
            at = columns(outcome.support)
            nothing.append((at, float(case.unanswerable), weight))
            if case.is_graded and not outcome.support.abstained:
                right.append((at, float(outcome.score >= WELL), weight))
    return Heads(_logistic(right), _logistic(nothing))


def bound(found: Sequence[Case]) -> Bound:
    """What keeping first outcomes cost in one half of the documents, by regressions over the other half."""
    fitted = fit([case for case in found if _half(case.group) == 0])
    lost: dict[str, list[Vector]] = {}
    for case in found:
        if _half(case.group) == 1:
            lost.setdefault(case.group, []).append(_lost(case, fitted))
    sums = np.sum([np.mean(each, axis=0) for each in lost.values()], axis=0) if lost else np.zeros(len(GRID))
    return Bound(fitted, tuple(np.round(sums, 6).tolist()), len(lost))


def reliability(found: Sequence[Case], heads: Mapping[int, Heads], bins: int = 5) -> list[dict[str, float | int]]:
    """Probabilities of graded answers, by heads that did not see their documents, beside the share that was right."""
    seen = sorted(
        (heads[place].of(outcome.support)[0], float(outcome.score >= WELL))
        for place, case in enumerate(found)
        for outcome in case.outcomes
        if case.is_graded and not outcome.support.abstained
    )
    parts = [part for part in np.array_split(np.array(seen), bins) if len(part)] if seen else []
    return [
        {"answers": len(part)}
        | {name: round(float(part[:, place].mean()), 4) for place, name in enumerate(("predicted", "right"))}
        for part in parts
    ]


def by_folds(found: Sequence[Case]) -> Iterable[tuple[Heads, NDArray[np.intp], NDArray[np.intp]]]:
    """(heads, places that they were fitted on, places that were left out) in turn."""
    groups = np.array([case.group for case in found])
    for inside, outside in folds(np.arange(len(found)), groups, FOLDS):
        yield fit([found[place] for place in inside]), inside, outside


def best(found: Sequence[Case], heads: Mapping[int, Heads]) -> float:
    """The threshold of the best score; of equal ones the lowest, which asks least."""
    datasets = [case.dataset for case in found]

    def score(keep_from: float) -> float:
        played = [play(case, ByModel(heads[place], keep_from)).score for place, case in enumerate(found)]
        return macro(np.array(played), datasets)

    return max(THRESHOLDS, key=lambda keep_from: (round(score(keep_from), 6), -keep_from))


def _lost(case: Case, heads: Heads) -> Vector:
    """The score that keeping the first outcome lost against the best one, at each threshold of GRID."""
    first = case.outcomes[0]
    judgement = ByModel(heads, 0.0).judge(first.support)
    best = max(outcome.score for outcome in case.outcomes)
    lost = max(best - worth(case, first, abstains=judgement.abstains), 0.0)
    return np.array([lost if judgement.worth >= at else 0.0 for at in GRID])


def _half(group: str) -> int:
    return hashlib.sha256(group.encode()).digest()[0] % 2


def _logistic(rows: Sequence[tuple[Vector, float, float]]) -> tuple[float, ...]:
    """Weights [COLUMNS] of a logistic regression with a ridge, by Newton's method (Bishop 2006, section 4.3.3).

    Args:
        rows: (columns, outcome 0 or 1, weight).
    """
    weights = np.zeros(len(COLUMNS))
    if not rows:
        return tuple(weights.tolist())
    at, hit = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    counts = np.array([row[2] for row in rows])
    # The level has the weight of one observation: it stays finite where all are alike.
    ridge = np.diag([0.25, *([RIDGE] * (len(COLUMNS) - 1))])
    for _ in range(STEPS):
        expected = 1 / (1 + np.exp(-np.clip(at @ weights, -30, 30)))
        slope = at.T @ (counts * (hit - expected)) - ridge @ weights
        curve = (at * (counts * expected * (1 - expected))[:, None]).T @ at + ridge
        step = np.linalg.solve(curve, slope)
        weights += np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-8:
            break
    return tuple(np.round(weights, 6).tolist())


def _interval(found: Interval) -> dict[str, float]:
    return {name: round(getattr(found, name), 4) for name in ("mean", "low", "high")}

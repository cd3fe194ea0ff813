"""Corrects the prior of `router/quality.py` by what a model's strategies scored here, and says how well that predicts.

Every question of an evaluation run gives one observation of the level of rag and one of each other strategy's gain over
it. Questions of one document are alike, so each of n of them counts as 1 / (1 + ALIKE (n - 1)) of one, the design
effect of cluster samples (Kish, Survey Sampling, 1965). What is told of the result comes from folds without the
documents that it is told of.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from turnout.errors import ConfigurationError
from turnout.router.beliefs import Beliefs
from turnout.router.calibration.folds import folds
from turnout.router.evaluation.table import is_single
from turnout.router.kinds import KINDS
from turnout.router.quality import BASE, COLUMNS, UNKNOWN_GAIN, UNKNOWN_SD, QualityModel
from turnout.router.signals import Signals

ALIKE = 0.2
"""How alike the scores of two questions of one document are, beyond what the columns tell: their correlation."""

LEAST_QUESTIONS, LEAST_DOCUMENTS = 40, 10
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Observed:
    """What the strategies scored on one question.

    Attributes:
        group: the document, or documents with text in common; stays together in folds.
        scores: by strategy, those whose answer the product could have given (nothing was cut, nothing failed).
        same_text: rag read all there is, so its score is one of the whole text.
    """

    question_id: str
    dataset: str
    group: str
    signals: Signals
    scores: Mapping[str, float]
    same_text: bool


def observe(rows: Sequence[Mapping[str, Any]], decisions: Mapping[str, Mapping[str, Any]]) -> list[Observed]:
    """What an evaluation run has observed, one for each question that has a decision and a score of rag.

    Args:
        rows: of the run; those of executed strategies count.
        decisions: the router's, by id.

    Raises:
        ConfigurationError: the decisions were recorded by a version that knew less of a question.
    """
    scores: dict[str, dict[str, float]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        about[row["question_id"]] = row
        if is_single(row["strategy"]) and _is_the_products(row):
            scores.setdefault(row["question_id"], {})[row["strategy"]] = row["score"]
    found = []
    for question_id, by_strategy in scores.items():
        row = about[question_id]
        decision = decisions.get(row["decision_id"])
        if decision is None or BASE not in by_strategy:
            continue
        signals = Signals.from_record(decision["signals"])
        if not signals.kinds:
            raise ConfigurationError(
                "the run's decisions do not hold the signals that quality is estimated from",
                hint="they are of an earlier version: decide anew with turnout eval run --decide-again",
            )
        prompt = {c["strategy"]: c["prompt_tokens"] for c in decision["candidates"]}
        found.append(
            Observed(
                question_id,
                row["dataset"],
                row["cluster"],
                signals,
                by_strategy,
                same_text=prompt.get(BASE, 0) >= signals.full_tokens,
            )
        )
    return found


def _is_the_products(row: Mapping[str, Any]) -> bool:
    """Whether the product could have given this answer."""
    return not row["truncated"] and row["error"] is None and row["fallback"] is None and "left_out" not in row


def best_prior(prior: QualityModel, observed: Sequence[Observed]) -> QualityModel:
    """The prior, with or without what searches found: with, where that predicts gains of strategies better on documents
    that were left out, by more than its standard error.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    if any(each.signals.search is None for each in observed):
        return prior
    searching = dataclasses.replace(prior, search=True)
    without, with_search = _errors(prior, observed), _errors(searching, observed)
    better = np.array([without[group] - with_search[group] for group in without])
    return searching if better.mean() > better.std(ddof=1) / math.sqrt(len(better)) else prior


def _errors(prior: QualityModel, observed: Sequence[Observed]) -> dict[str, float]:
    """By group of documents, the mean squared error of predicted gains over BASE."""
    errors: dict[str, list[float]] = {}
    for each, model in held_out(prior, observed):
        base = model.expected(BASE, each.signals).quality
        for name in each.scores.keys() - {BASE}:
            gain = model.expected(name, each.signals).quality - base
            errors.setdefault(each.group, []).append((each.scores[name] - each.scores[BASE] - gain) ** 2)
    return {group: float(np.mean(found)) for group, found in errors.items()}


def fit(prior: QualityModel, observed: Sequence[Observed]) -> QualityModel:
    """The beliefs after all observations. Strategies that the prior does not know join it."""
    model = _joined(prior, sorted({name for each in observed for name in each.scores}))
    sizes = Counter(each.group for each in observed)
    rows, values, variances = [], [], []
    for each in observed:
        at = model.columns(each.signals)
        less = 1 + ALIKE * (sizes[each.group] - 1)
        base = each.scores[BASE]
        whole = model.row("full", at) if each.same_text and "full" in model.others else model.row(BASE, at)
        rows.append(whole)
        values.append(base)
        variances.append(model.noise[0] * less)
        for name, score in each.scores.items():
            if name == BASE or each.same_text:
                continue
            rows.append(model.row(name, at) - model.row(BASE, at))
            values.append(score - base)
            variances.append(model.noise[1] * less)
    beliefs = model.beliefs.updated(rows, values, variances)
    datasets = len({each.dataset for each in observed})
    basis = f"{len(observed):,} questions of {datasets} sets measured here, on top of {prior.basis}"
    return dataclasses.replace(model, beliefs=beliefs, basis=basis)


def _joined(prior: QualityModel, strategies: Sequence[str]) -> QualityModel:
    """The prior with a block for each further strategy: a risk, and hardly anything known of it."""
    new = [name for name in strategies if name != BASE and name not in prior.others]
    if not new:
        return prior
    block = np.zeros(len(COLUMNS))
    block[: len(KINDS)] = UNKNOWN_GAIN
    mean = np.concatenate([prior.beliefs.mean, *(block for _ in new)])
    covariance = np.diag(np.full(len(mean), UNKNOWN_SD**2))
    covariance[: len(prior.beliefs.mean), : len(prior.beliefs.mean)] = prior.beliefs.covariance
    return dataclasses.replace(prior, others=(*prior.others, *new), beliefs=Beliefs(mean, covariance))


def check_enough(observed: Sequence[Observed]) -> None:
    """Refuses what is too little to correct a prior with.

    Raises:
        ConfigurationError: fewer than LEAST_QUESTIONS or LEAST_DOCUMENTS.
    """
    groups = len({each.group for each in observed})
    if len(observed) < LEAST_QUESTIONS or groups < LEAST_DOCUMENTS:
        raise ConfigurationError(
            f"{len(observed)} questions over {groups} documents are too few to calibrate on",
            hint=f"give at least {LEAST_QUESTIONS} questions over {LEAST_DOCUMENTS} documents; the prior stays",
        )


def held_out(prior: QualityModel, observed: Sequence[Observed]) -> Iterator[tuple[Observed, QualityModel]]:
    """Every question with a model that was fitted without its document.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    groups = np.array([each.group for each in observed])
    for inside, outside in folds(np.arange(len(observed)), groups, FOLDS):
        model = fit(prior, [observed[place] for place in inside])
        for place in outside:
            yield observed[place], model


def reliability(
    pairs: Collection[tuple[Observed, QualityModel]], strategy: str, bins: int = 4
) -> list[dict[str, float | int]]:
    """Predicted and scored side by side: questions in the order of what was predicted, in bins of equal size.

    Returns:
        For each bin `questions`, and the means `predicted` and `scored`.
    """
    seen = sorted(
        (model.expected(strategy, each.signals).quality, each.scores[strategy])
        for each, model in pairs
        if strategy in each.scores
    )
    size = math.ceil(len(seen) / bins) or 1
    parts = [seen[start : start + size] for start in range(0, len(seen), size)]
    return [
        {
            "questions": len(part),
            "predicted": round(float(np.mean([predicted for predicted, _ in part])), 4),
            "scored": round(float(np.mean([scored for _, scored in part])), 4),
        }
        for part in parts
    ]

"""How far the rules that grade LaRA's predictions can be trusted: against verdicts of a reader, and earlier scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turnout.errors import ConfigurationError, MissingExtraError
from turnout.router.evaluation import json_lines
from turnout.router.evaluation.json_lines import BadRow, Malformed, OnBad
from turnout.router.evaluation.lara import WAYS, Grade, Key, Prediction

RIGHT = 0.5
"""From this score on, a prediction counts as right."""

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
FOLDS = 5
DRAWS = 2000
CLOSE = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    """A prediction that somebody read: `right` is their verdict."""

    key: Key
    task: str
    right: bool

    @property
    def way(self) -> str:
        """How the prediction was made, "full" or "rag"."""
        return self.key[2]


def read_cases(path: str | Path, on_bad: OnBad) -> list[Case]:
    """Reads verdicts: one object a line with id, model, mode, task and verdict (right or wrong).

    Raises:
        ConfigurationError: the path does not exist or is of another kind.
    """
    cases = []
    for file in json_lines.files([path]):
        for line, row in json_lines.objects(file, on_bad):
            try:
                cases.append(_parse(row))
            except BadRow as error:
                on_bad(Malformed(str(file), line, str(error)))
    return cases


def agreement(
    cases: Sequence[Case], grades: Mapping[Key, Grade], clusters: Mapping[str, str], seed: int = 0
) -> dict[str, Any]:
    """How often score >= RIGHT says what the reader says, by task and way, and for gold_recall at other thresholds.

    Args:
        cases: verdicts; those on predictions that are not there are counted as `unmatched`.
        clusters: by question id what the bootstrap draws, its document; a question that is not there is one of its own.
        seed: of the bootstrap.

    Returns:
        cases, unmatched, right (by the reader), agreement, bias (share right by the rules, less that by the reader),
        kappa (Cohen's, None where only one class occurs) and its 95% interval {low, high}; ways {way: the same} and
        tasks {task: the same, and again ways}. gold_recall over the answerable questions: auc, agreement at RIGHT, and
        the agreement when the threshold is chosen on the other folds (None under 10 cases), with the thresholds that
        were chosen.

    Raises:
        ConfigurationError: no verdict belongs to a prediction.
        MissingExtraError: scikit-learn is not installed.
    """
    there = [case for case in cases if case.key in grades]
    if not there:
        raise ConfigurationError(
            f"none of the {len(cases)} verdicts is on a prediction that was read",
            hint="verdicts name predictions by id, model and mode",
        )
    answerable = [case for case in there if case.task != "hallucination"]

    def compared(some: Sequence[Case]) -> dict[str, Any]:
        return _agreement(some, grades, clusters, seed)

    def by_way(some: Sequence[Case]) -> dict[str, Any]:
        return {way: compared([case for case in some if case.way == way]) for way in sorted({c.way for c in some})}

    tasks: dict[str, list[Case]] = {}
    for case in there:
        tasks.setdefault(case.task, []).append(case)
    return {
        "unmatched": len(cases) - len(there),
        **compared(there),
        "ways": by_way(there),
        "tasks": {task: {**compared(some), "ways": by_way(some)} for task, some in tasks.items()},
        "gold_recall": _threshold(answerable, grades) if answerable else None,
    }


def against_stored(predictions: Sequence[Prediction], grades: Mapping[Key, Grade], unanswerable: set[str]) -> Any:
    """The grades against the scores that came with the predictions; None where none came.

    Args:
        unanswerable: ids of the questions whose answer is not in the text.

    Returns:
        For token_f1 and gold_recall: share within CLOSE, mean absolute difference and correlation. For refused, apart
        for unanswerable and answerable questions: how many both, only the stored, only ours and neither flag.
    """
    pairs = [(p, p.stored, grades[p.key]) for p in predictions if p.stored is not None]
    if not pairs:
        return None
    compared: dict[str, Any] = {"predictions": len(pairs)}
    for name in ("token_f1", "gold_recall"):
        theirs = np.array([getattr(stored, name) for _, stored, _ in pairs])
        ours = np.array([getattr(grade, name) for _, _, grade in pairs])
        moves = ours.std() > 0 and theirs.std() > 0
        compared[name] = {
            "close": float((abs(ours - theirs) < CLOSE).mean()),
            "mean_difference": float(abs(ours - theirs).mean()),
            "correlation": float(np.corrcoef(ours, theirs)[0, 1]) if moves else None,
        }
    compared["refused"] = {
        name: _both([(s.refused, g.refused) for p, s, g in pairs if (p.question_id in unanswerable) is wanted])
        for name, wanted in (("unanswerable", True), ("answerable", False))
    }
    return compared


def _both(flags: Sequence[tuple[bool, bool]]) -> dict[str, int]:
    named = {"both": (True, True), "only_stored": (True, False), "only_ours": (False, True), "neither": (False, False)}
    return {name: flags.count(pair) for name, pair in named.items()}


def _parse(row: Mapping[str, Any]) -> Case:
    mode, verdict = json_lines.text(row, "mode"), json_lines.text(row, "verdict")
    if mode not in WAYS:
        raise BadRow(f"unknown mode {mode!r}; known: {', '.join(WAYS)}")
    if verdict not in ("right", "wrong"):
        raise BadRow(f"unknown verdict {verdict!r}; known: right, wrong")
    key = (json_lines.text(row, "id"), json_lines.text(row, "model"), WAYS[mode])
    return Case(key, json_lines.text(row, "task"), verdict == "right")


def _agreement(
    cases: Sequence[Case], grades: Mapping[Key, Grade], clusters: Mapping[str, str], seed: int
) -> dict[str, Any]:
    ours = np.array([grades[case.key].score >= RIGHT for case in cases])
    theirs = np.array([case.right for case in cases])
    units, unit = np.unique([clusters.get(case.key[0], case.key[0]) for case in cases], return_inverse=True)
    held = np.zeros((len(units), 4))
    np.add.at(held, (unit, 2 * ours + theirs), 1)
    drawn = np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), size=DRAWS)
    kappa, kappas = float(_kappa(held.sum(axis=0))), _kappa(drawn @ held)
    low, high = np.nanquantile(kappas, [0.025, 0.975]) if not np.isnan(kappas).all() else (np.nan, np.nan)
    return {
        "cases": len(cases),
        "right": int(theirs.sum()),
        "agreement": float((ours == theirs).mean()),
        "bias": float(ours.mean() - theirs.mean()),
        "kappa": None if np.isnan(kappa) else kappa,
        "kappa_interval": None if np.isnan(kappa) else {"low": float(low), "high": float(high)},
    }


def _kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa; NaN where only one class occurs.

    Args:
        counts: how many are right by neither, by the reader alone, by the rules alone and by both, shape (..., 4).
    """
    neither, reader, rules, both = np.moveaxis(counts / counts.sum(axis=-1, keepdims=True), -1, 0)
    ours, theirs = rules + both, reader + both
    by_chance = ours * theirs + (1 - ours) * (1 - theirs)
    room = 1 - by_chance
    kappa: np.ndarray = np.divide(neither + both - by_chance, room, out=np.full_like(room, np.nan), where=room > 1e-12)
    return kappa


def _threshold(cases: Sequence[Case], grades: Mapping[Key, Grade]) -> dict[str, Any]:
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingExtraError("the check of the grading rules", "eval") from error
    ordered = sorted(cases, key=lambda case: (case.key, case.task))
    recalls = np.array([grades[case.key].gold_recall for case in ordered])
    right = np.array([case.right for case in ordered])
    chosen, hits = _cross_validated(recalls, right) if len(ordered) >= 2 * FOLDS else ([], None)
    return {
        "cases": len(ordered),
        "auc": float(roc_auc_score(right, recalls)) if 0 < right.sum() < len(right) else None,
        "agreement": float(((recalls >= RIGHT) == right).mean()),
        "cross_validated": hits,
        "thresholds": chosen,
    }


def _cross_validated(recalls: np.ndarray, right: np.ndarray) -> tuple[list[float], float]:
    """The threshold chosen without each fold, and how often they agree on the folds left out."""
    folds = np.arange(len(right)) % FOLDS
    chosen, hits = [], np.zeros(len(right), dtype=bool)
    for fold in range(FOLDS):
        held_out = folds == fold
        chosen.append(_best_threshold(recalls[~held_out], right[~held_out]))
        hits[held_out] = (recalls[held_out] >= chosen[-1]) == right[held_out]
    return chosen, float(hits.mean())


def _best_threshold(recalls: np.ndarray, right: np.ndarray) -> float:
    """The threshold that agrees most often; of equals the nearest to RIGHT."""
    return max(THRESHOLDS, key=lambda t: (float(((recalls >= t) == right).mean()), -abs(t - RIGHT)))

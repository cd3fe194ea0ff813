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
CLOSE = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    """A prediction that somebody read: `right` is their verdict."""

    key: Key
    task: str
    right: bool


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


def agreement(cases: Sequence[Case], grades: Mapping[Key, Grade]) -> dict[str, Any]:
    """How often score >= RIGHT says what the reader says, overall, by task, and for gold_recall at other thresholds.

    Args:
        cases: verdicts; those on predictions that are not there are counted as `unmatched`.

    Returns:
        cases, unmatched, agreement and kappa (Cohen's, None where only one class occurs), tasks {task: the same}, and
        gold_recall over the answerable questions: auc, agreement at RIGHT, and the agreement when the threshold is
        chosen on the other folds (None under 10 cases), with the thresholds that were chosen.

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
    by_task = {
        task: _agreement([case for case in there if case.task == task], grades)
        for task in dict.fromkeys(case.task for case in there)
    }
    return {
        "unmatched": len(cases) - len(there),
        **_agreement(there, grades),
        "tasks": by_task,
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


def _agreement(cases: Sequence[Case], grades: Mapping[Key, Grade]) -> dict[str, Any]:
    ours = np.array([grades[case.key].score >= RIGHT for case in cases])
    theirs = np.array([case.right for case in cases])
    same = float((ours == theirs).mean())
    by_chance = float(ours.mean() * theirs.mean() + (1 - ours.mean()) * (1 - theirs.mean()))
    return {
        "cases": len(cases),
        "right": int(theirs.sum()),
        "agreement": same,
        "kappa": (same - by_chance) / (1 - by_chance) if by_chance < 1 else None,
    }


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

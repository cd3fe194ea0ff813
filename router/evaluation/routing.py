"""The router without any model: its choices, and other policies', scored on LaRA's released predictions.

Both answers to every question are known, so a policy's score, cost and regret need no generation; cost is prompt
tokens. One caveat holds for `router` and `task_rule` alike: the prior is fitted on these predictions, and the rule was
read off LaRA's published table, which rests on these questions among others, so neither is out of sample here.
`learned`, `learned_new`, `wording` and `attainable` are, by document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from turnout.errors import ConfigurationError
from turnout.router.evaluation.items import read_items
from turnout.router.evaluation.json_lines import Malformed, OnBad
from turnout.router.evaluation.lara import Grade, Key, grade, read_groups, read_predictions
from turnout.router.evaluation.lara_checks import against_stored, agreement, read_cases
from turnout.router.evaluation.lara_judge import judge_gaps
from turnout.router.evaluation.routing_figures import differences, figures, part
from turnout.router.evaluation.routing_learned import learned
from turnout.router.evaluation.routing_policies import (
    MODELS,
    POLICIES,
    UNKNOWN_MODEL,
    Board,
    board,
    length,
    shares,
    signals,
)
from turnout.router.evaluation.schema import Item
from turnout.router.questions import task_of

SCHEMA = 1
SHOWN = 5
"""Lines that can't be used, listed in the result; all are counted."""


def evaluate(
    predictions_path: str | Path,
    questions_path: str | Path,
    seed: int,
    checked_path: str | Path | None = None,
    groups_path: str | Path | None = None,
    *,
    strict: bool = False,
    on_bad: OnBad = lambda bad: None,
) -> dict[str, Any]:
    """Scores every policy on every model, task and length.

    Args:
        predictions_path: LaRA's predictions, .jsonl or .jsonl.gz.
        questions_path: the questions that they answer, with gold answers and `meta.length`.
        seed: of the bootstrap; everything else is deterministic.
        checked_path: verdicts of a reader on some of the predictions, to check the grading rules against.
        groups_path: which documents have text in common, so that they are drawn together; without it, a document is
            what has an id of its own.
        strict: a line that can't be used ends the evaluation before it begins.
        on_bad: called for each such line.

    Returns:
        A JSON object. `lengths` has for "32k" and "128k" the figures of each policy over all models, overall and by
        task, and what the router gains over the others; `models` has the same figures of each model and length, of the
        tasks the score alone. Beside them `counts`, `grading` (how far the rules can be trusted), `policies` (what each
        is), `grouped` (whether documents were grouped), `assumed` (what `router` was told of each model) and `task_cue`
        (gold task against the router's cue, in questions).

    Raises:
        ConfigurationError: a file is missing, or holds nothing that can be used; or, if `strict`, a malformed line.
        MissingExtraError: scikit-learn is not installed.
    """
    bad: list[Malformed] = []

    def note(line: Malformed) -> None:
        bad.append(line)
        on_bad(line)

    items = {item.id: item for item in read_items([questions_path], note) if length(item)}
    if not items:
        raise ConfigurationError(
            f"{questions_path} holds no question with a length class in meta.length",
            hint="give LaRA's questions, dev/questions/lara.jsonl.gz of the evaluation data",
        )
    groups = None if groups_path is None else read_groups(groups_path)
    predictions = read_predictions(predictions_path, items, note)
    cases = None if checked_path is None else read_cases(checked_path, note)
    if strict and bad:
        raise ConfigurationError(
            f"malformed lines: {len(bad)}, the first: {bad[0]}", hint="mend them, or leave --strict"
        )
    grades = {p.key: grade(p.text, items[p.question_id]) for p in predictions}
    table = board(_answered_both_ways(items, grades, predictions_path), grades, groups)
    clusters = dict(zip((item.id for item in table.items), table.clusters, strict=True))
    chosen = shares(table, learned(table))
    unanswerable = {item.id for item in items.values() if item.answer_type == "unanswerable"}
    lengths = sorted(set(table.lengths), key=lambda name: (len(name), name))
    parts = {name: part(table, name, None, seed) for name in lengths}
    return {
        "schema": SCHEMA,
        "seed": seed,
        "counts": _counts(table, len(predictions), bad),
        "grading": {
            "refused_answerable": _refused_answerable(grades, unanswerable),
            "stored": against_stored(predictions, grades, unanswerable),
            "hand_checked": None if cases is None else agreement(cases, grades, clusters, seed),
            "judge_gaps": {name: judge_gaps(all_models, name) for name, all_models in parts.items()},
        },
        "policies": {name: POLICIES[name] for name in chosen},
        "grouped": groups is not None,
        "assumed": _assumed(table),
        "task_cue": _task_cue(table),
        "lengths": {
            name: {**figures(all_models, chosen), "differences": differences(all_models, chosen)}
            for name, all_models in parts.items()
        },
        "models": {
            model: {name: figures(part(table, name, column, seed), chosen, by_task=False) for name in lengths}
            for column, model in enumerate(table.models)
        },
    }


def _answered_both_ways(items: Mapping[str, Item], grades: Mapping[Key, Grade], path: str | Path) -> list[Item]:
    """The questions that at least one model answered with full and with rag."""
    both = {
        question_id for question_id, model, way in grades if way == "full" and (question_id, model, "rag") in grades
    }
    if not both:
        raise ConfigurationError(
            f"{path} holds no question that a model answered in both modes",
            hint="a prediction names its question by id, and its mode as long_context or rag",
        )
    return [item for item in items.values() if item.id in both]


def _counts(table: Board, predictions: int, bad: Sequence[Malformed]) -> dict[str, Any]:
    pairs = int((~np.isnan(table.full)).sum())
    return {
        "questions": len(table.items),
        "documents": len(set(table.documents)),
        "groups": len(set(table.clusters)),
        "models": len(table.models),
        "predictions": predictions,
        "pairs": pairs,
        "without_other_mode": predictions - 2 * pairs,
        "unusable_lines": len(bad),
        # By name: a result is shown to others, who have no use for this machine's folders.
        "first_unusable": [str(replace(line, file=Path(line.file).name)) for line in bad[:SHOWN]],
    }


def _refused_answerable(grades: Mapping[Key, Grade], unanswerable: set[str]) -> dict[str, float | None]:
    """Share of predictions for answerable questions that the refusal rule flags, by way."""
    flags: dict[str, list[bool]] = {"full": [], "rag": []}
    for (question_id, _, way), graded in grades.items():
        if question_id not in unanswerable:
            flags[way].append(graded.refused)
    return {way: round(float(np.mean(found)), 4) if found else None for way, found in flags.items()}


def _assumed(table: Board) -> dict[str, Any]:
    """What the router was told of each model, and on how many questions full is over that window."""
    told = {}
    for model in table.models:
        parameters, window = MODELS.get(model, UNKNOWN_MODEL)
        known = [signals(item, model) for item in table.items]
        over = sum(at.full_tokens + at.max_new_tokens > window for at in known)
        told[model] = {"parameters": parameters, "window": window, "over_window": over}
    return told


def _task_cue(table: Board) -> dict[str, dict[str, int]]:
    """By gold task, how many questions the router's cue takes for what."""
    cues: dict[str, Counter[str]] = {}
    for item in table.items:
        cues.setdefault(item.task, Counter())[task_of(item.question)] += 1
    return {task: dict(found.most_common()) for task, found in sorted(cues.items())}

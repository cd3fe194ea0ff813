"""The routing evaluation on LaRA's released predictions: what its figures rest on, and that they are those reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turnout.router.evaluation.attainable import prefers_full
from turnout.router.evaluation.items import read_items
from turnout.router.evaluation.lara import Grade, Key, Prediction, grade, read_predictions
from turnout.router.evaluation.lara_checks import against_stored, agreement, read_cases
from turnout.router.evaluation.routing_policies import Board, board, routed
from turnout.router.evaluation.schema import Item

pytestmark = pytest.mark.shared

ROOT = Path(__file__).parents[2]
DEV = ROOT.parent / "shared/data/dev"
CHECKED = ROOT / "benchmarks/lara_hand_checked.jsonl"
COMMITTED = ROOT / "benchmarks/results/routing_on_lara.json"

Read = tuple[dict[str, Item], list[Prediction], dict[Key, Grade]]


@pytest.fixture(scope="module")
def read() -> Read:
    """Questions, predictions and our grades."""
    bad: list[Any] = []
    items = {item.id: item for item in read_items([DEV / "questions/lara.jsonl.gz"], bad.append)}
    assert not bad
    predictions = read_predictions(DEV / "routing/lara_predictions.jsonl.gz", items, bad.append)
    # One question is asked twice in the same words under one id.
    assert all("lara-641607b7c10a-1" in line.reason for line in bad)
    return items, predictions, {p.key: grade(p.text, items[p.question_id]) for p in predictions}


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(COMMITTED.read_text())
    return result


def test_our_grades_are_near_those_in_the_file(read: Read) -> None:
    items, predictions, grades = read
    unanswerable = {item.id for item in items.values() if item.answer_type == "unanswerable"}
    found = against_stored(predictions, grades, unanswerable)
    assert found["gold_recall"]["close"] > 0.94
    assert found["token_f1"]["correlation"] > 0.99
    flags = found["refused"]["unanswerable"]
    assert (flags["both"] + flags["neither"]) / sum(flags.values()) > 0.96


def test_the_rules_agree_with_at_least_100_verdicts(read: Read, committed: dict[str, Any]) -> None:
    found = agreement(read_cases(CHECKED, pytest.fail), read[2])
    assert (found["unmatched"], found["cases"]) == (0, 128)
    assert found == committed["grading"]["hand_checked"]


def test_the_attainable_reference_on_the_scores_in_the_file(read: Read) -> None:
    items, predictions, _ = read
    stored = {}
    for prediction in predictions:
        assert prediction.stored is not None
        f1, recall, refusal = prediction.stored.token_f1, prediction.stored.gold_recall, prediction.stored.refused
        score = float(refusal) if items[prediction.question_id].task == "hallucination" else recall
        stored[prediction.key] = Grade(score, f1, recall, refusal)
    found = _attainable(board([item for item in items.values() if item.id in {key[0] for key in stored}], stored))
    assert found["32k"] == pytest.approx(0.714, abs=0.002)
    assert found["128k"] == pytest.approx(0.652, abs=0.002)


def _attainable(table: Board) -> dict[str, float]:
    """By length, the mean over models of each model's macro over tasks."""
    domains = [str(item.meta["domain"]) for item in table.items]
    full = prefers_full(table.full, table.rag, table.tasks, table.lengths, domains, table.documents)
    scores = np.where(full, table.full, table.rag)
    scores[np.isnan(table.full)] = np.nan
    lengths, tasks = np.array(table.lengths), np.array(table.tasks)
    return {
        length: float(
            np.mean([np.nanmean(scores[(lengths == length) & (tasks == task)], axis=0) for task in set(table.tasks)])
        )
        for length in ("32k", "128k")
    }


def test_the_committed_choices_are_those_of_the_router_today(read: Read, committed: dict[str, Any]) -> None:
    """Where the quality rule or the task cue changes, benchmarks/routing_on_lara.py must be run again."""
    items, _, grades = read
    model = "llama-3.1-8b"
    for length in ("32k", "128k"):
        asked = [
            item
            for item in items.values()
            if item.meta["length"] == length and {(item.id, model, "full"), (item.id, model, "rag")} <= grades.keys()
        ]
        share = np.mean([routed(item, model) == "full" for item in asked])
        policies = committed["models"][model][length]["policies"]
        assert policies["router"]["full_share"] == pytest.approx(share, abs=1e-4)


def test_no_text_of_the_data_is_in_the_committed_file(read: Read) -> None:
    items, predictions, _ = read
    texts = [item.question for item in items.values()] + [item.answers[0] for item in items.values()]
    texts += [prediction.text for prediction in predictions]
    committed = COMMITTED.read_text()
    # Shorter ones are figures or single words, which stand in any result.
    found = [text for text in texts if len(text) >= 20 and json.dumps(text)[1:-1] in committed]
    assert found == []

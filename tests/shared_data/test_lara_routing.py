"""The routing evaluation on LaRA's released predictions: what its figures rest on, and that they are those reported."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turnout.router.evaluation.attainable import prefers_full
from turnout.router.evaluation.items import read_items
from turnout.router.evaluation.lara import Grade, Key, Prediction, grade, read_groups, read_predictions
from turnout.router.evaluation.lara_checks import against_stored, agreement, read_cases
from turnout.router.evaluation.routing_policies import Board, board, routed
from turnout.router.evaluation.schema import Item

pytestmark = pytest.mark.shared

ROOT = Path(__file__).parents[2]
DEV = ROOT.parent / "shared/data/dev"
CHECKED = ROOT / "benchmarks/lara_hand_checked.jsonl"
GROUPS = ROOT / "benchmarks/lara_groups.json"
COMMITTED = ROOT / "benchmarks/results/routing_on_lara.json"

TASKS = ("location", "reasoning", "comparison", "hallucination")

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
    items, _, grades = read
    groups = read_groups(GROUPS)
    clusters = {item.id: groups[item.doc_ids[0]] for item in items.values()}
    found = agreement(read_cases(CHECKED, pytest.fail), grades, clusters, committed["seed"])
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
    assert full is not None
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
    model = "llama-3.2-3b"
    for length, remote in itertools.product(("32k", "128k"), (False, True)):
        asked = [
            item
            for item in items.values()
            if item.meta["length"] == length and {(item.id, model, "full"), (item.id, model, "rag")} <= grades.keys()
        ]
        taken = [[routed(item, model, remote) == "full" for item in asked if item.task == task] for task in TASKS]
        policy = committed["models"][model][length]["policies"]["router_remote" if remote else "router"]
        assert policy["full_share"] == pytest.approx(np.mean([np.mean(of_task) for of_task in taken]), abs=1e-4)


def test_no_text_of_the_data_is_in_the_committed_file(read: Read) -> None:
    items, predictions, _ = read
    texts = [item.question for item in items.values()] + [item.answers[0] for item in items.values()]
    texts += [prediction.text for prediction in predictions]
    committed = COMMITTED.read_text()
    # Shorter ones are figures or single words, which stand in any result.
    found = [text for text in texts if len(text) >= 20 and json.dumps(text)[1:-1] in committed]
    assert found == []


def test_the_committed_file_is_small_and_rests_on_groups(committed: dict[str, Any]) -> None:
    assert COMMITTED.stat().st_size < 150_000
    assert committed["grouped"] is True
    assert (committed["counts"]["documents"], committed["counts"]["groups"]) == (73, 65)


def test_bundles_that_share_papers_are_one_group(read: Read) -> None:
    groups = read_groups(GROUPS)
    assert groups.keys() == {item.doc_ids[0] for item in read[0].values()}
    assert len(set(groups.values())) == 65
    # 72% of the shorter one's 8-word shingles are in both.
    assert groups["lara/32k-paper-32k-paper-11"] == groups["lara/32k-paper-32k-paper-5"]
    # An id is its own group or another group's first id.
    assert all(groups[group] == group <= doc_id for doc_id, group in groups.items())

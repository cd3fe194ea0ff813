"""Grading LaRA's predictions: the rules, the reading, and the check against a reader's verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import ConfigurationError
from turnout.router.evaluation.lara import (
    Grade,
    Prediction,
    Stored,
    gold_recall,
    grade,
    read_groups,
    read_predictions,
    refused,
)
from turnout.router.evaluation.lara_checks import Case, against_stored, agreement, read_cases
from turnout.router.evaluation.schema import Item


def item(**changes: Any) -> Item:
    fields: dict[str, Any] = {
        "id": "q1",
        "dataset": "lara",
        "task": "location",
        "hop": "single-hop",
        "question": "Where is the mill?",
        "answers": ("By the old bridge.",),
        "choices": None,
        "answer_type": "abstractive",
        "doc_ids": ("d1",),
        "evidence": None,
        "context_chars": 100,
        "core": False,
    }
    return Item(**(fields | changes))


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        # old, bridge, by: all three of the answer's tokens without its article.
        ("It stands by an old bridge near the ford.", "By the old bridge.", 1.0),
        # bridge of by, old, bridge.
        ("At the bridge", "By the old bridge.", 1 / 3),
        # The gold answer has "of" twice, the prediction once: master, of, house, of -> master, of, house.
        ("master of house", "Master of the House of", 3 / 4),
        # A number keeps its decimals, loses its thousands separator, and is not found in its pieces.
        ("3,142 GB, 20.07 times", "$3142 GB; 20.07", 1.0),
        ("20 and 07", "20.07", 0.0),
        ("the mill's wheel", "The wheel of the mill", 2 / 3),
        ("12 %", "12%", 1.0),
        ("", "By the old bridge.", 0.0),
        ("anything", "...", 0.0),
    ],
)
def test_gold_recall(prediction: str, gold: str, expected: float) -> None:
    assert gold_recall(prediction, (gold,)) == pytest.approx(expected)


def test_gold_recall_takes_the_best_answer() -> None:
    assert gold_recall("at noon", ("in the evening", "noon")) == 1.0


@pytest.mark.parametrize(
    "prediction",
    [
        "The text does not mention the colour of the boat.",
        "The boat's colour is not explicitly stated.",
        "Based on the chunks provided, there is no specific information about a boat.",
        "I apologize, but I cannot find any boat in these chapters.",
        "The growth rate cannot be determined from the filing.",
        "Northwind Inc. does not disclose a forecast.",
        "Here is what I found.\nThe paper discusses masonry. It doesn’t cover boats.",
        "No such plans are mentioned.",
        "None.",
        "Unfortunately, the authors never discuss boats.",
        "Anna did not find a key. Instead, she found a letter.",
        "The rudder plays no role in steering by the stars here.",
        "The question rests on a misunderstanding: the boat was sold.",
        "没有明确提到船的颜色。",
    ],
)
def test_says_that_it_is_not_in_the_text(prediction: str) -> None:
    assert refused(prediction)


@pytest.mark.parametrize(
    "prediction",
    [
        "",
        "The boat was blue.",
        "Noon.",
        "Tides do not affect the mill.",
        "The levy has no significant impact on margins.",
        "She sailed at dawn. The crew slept. They woke at noon. The text does not mention the harbour.",
        "He left because she could not stay.",
    ],
)
def test_an_answer_is_no_refusal(prediction: str) -> None:
    assert not refused(prediction)


def test_what_counts_depends_on_whether_there_is_an_answer() -> None:
    gold = "The text does not mention a boat."
    unanswerable = item(task="hallucination", answer_type="unanswerable", answers=(gold,))
    # Made up, though it shares "boat" and "a" (an article) with the gold refusal.
    assert grade("A blue boat.", unanswerable).score == 0.0
    assert grade("There is no mention of one.", unanswerable).score == 1.0
    answered = grade("By the old bridge, I think.", item())
    # by old bridge i think against by old bridge: precision 3/5, recall 1, F1 6/8.
    assert answered == Grade(score=1.0, token_f1=0.75, gold_recall=1.0, refused=False)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


ROW = {"id": "q1", "model": "m", "mode": "rag", "prediction": "noon"}


def test_reading_keeps_good_lines_and_reports_the_others(tmp_path: Path) -> None:
    scored = {"token_f1": 0.5, "gold_recall": 1, "refused": False}
    path = write(
        tmp_path / "p.jsonl",
        {**ROW, **scored},
        {**ROW, "id": "q9"},
        {**ROW, "mode": "hybrid"},
        {**ROW, "prediction": 3},
        {**ROW, "prediction": None, "mode": "long_context"},
        ROW,
        "{",
        {**ROW, "mode": "long_context", "prediction": ""},
    )
    bad: list[Any] = []
    found = read_predictions(path, {"q1"}, bad.append)
    assert found == [
        Prediction("q1", "m", "rag", "noon", Stored(0.5, 1.0, False)),
        Prediction("q1", "m", "full", "", None),
    ]
    assert [(line.line, line.reason.split(";")[0].split(":")[0]) for line in bad] == [
        (2, "unknown question 'q9'"),
        (3, "unknown mode 'hybrid'"),
        (4, "prediction must be a string, not a whole number"),
        (5, "prediction is missing"),
        (6, "a second prediction for q1 m rag"),
        (7, "not JSON"),
    ]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_predictions(tmp_path / "none.jsonl", {"q1"}, lambda _: None)


def test_groups_are_read_from_a_file(tmp_path: Path) -> None:
    assert read_groups(write(tmp_path / "g.json", {"d1": "d1", "d2": "d1"})) == {"d1": "d1", "d2": "d1"}


@pytest.mark.parametrize(
    ("content", "said"), [("{", "can't be read as JSON"), ('["d1"]', "no JSON object"), ('{"d1": 1}', "no JSON object")]
)
def test_a_file_without_groups_is_an_error(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_groups(write(tmp_path / "g.json", content))
    with pytest.raises(ConfigurationError, match="can't be read as JSON"):
        read_groups(tmp_path / "none.json")


def graded(recall: float, refusal: bool | None = None) -> Grade:
    return Grade(recall if refusal is None else float(refusal), 0.0, recall, bool(refusal))


def case(name: str, right: bool, task: str = "location", way: str = "rag") -> Case:
    return Case((name, "m", way), task, right)


def test_agreement_with_a_reader() -> None:
    grades = {
        ("a", "m", "rag"): graded(0.9),
        ("b", "m", "rag"): graded(0.5),
        ("c", "m", "rag"): graded(0.4),
        ("d", "m", "rag"): graded(0.1),
        ("e", "m", "rag"): graded(0.9, refusal=False),
    }
    cases = [
        case("a", True),
        case("b", False),
        case("c", True),
        case("d", False),
        case("e", False, "hallucination"),
        case("gone", True),
    ]
    found = agreement(cases, grades, {})
    assert found["unmatched"] == 1
    # We say right, right, wrong, wrong, wrong; the reader right, wrong, right, wrong, wrong: 3 of 5 agree. Both say
    # right in 2/5, so chance agrees in 2/5 * 2/5 + 3/5 * 3/5 = 13/25 and kappa is (15/25 - 13/25) / (12/25) = 1/6.
    assert (found["cases"], found["right"]) == (5, 2)
    assert found["agreement"] == pytest.approx(0.6)
    assert found["kappa"] == pytest.approx(1 / 6)
    location = found["tasks"]["location"]
    assert {name: location[name] for name in ("cases", "right", "agreement", "bias", "kappa")} == {
        "cases": 4,
        "right": 2,
        "agreement": 0.5,
        "bias": 0.0,
        "kappa": 0.0,
    }
    assert found["tasks"]["hallucination"]["kappa"] is found["tasks"]["hallucination"]["kappa_interval"] is None
    # Of the four pairs of a right and a wrong one, (c, b) alone is in the wrong order.
    assert found["gold_recall"]["auc"] == pytest.approx(0.75)
    assert found["gold_recall"]["cases"] == 4
    assert found["gold_recall"]["cross_validated"] is None, "four cases are too few to choose a threshold from"


def test_a_rule_that_is_kinder_to_one_way_shows() -> None:
    recalls = {("a", "full"): 0.9, ("b", "full"): 0.1, ("c", "rag"): 0.9, ("d", "rag"): 0.9}
    grades = {(name, "m", way): graded(recall) for (name, way), recall in recalls.items()}
    cases = [case("a", True, way="full"), case("b", True, way="full"), case("c", True), case("d", False)]
    found = agreement(cases, grades, {})
    # Of full's two the rules take one for right and the reader both; of rag's the rules take both, the reader one.
    assert found["bias"] == 0.0
    for entry in (found, found["tasks"]["location"]):
        assert {way: of_way["bias"] for way, of_way in entry["ways"].items()} == {"full": -0.5, "rag": 0.5}
        assert [of_way["agreement"] for of_way in entry["ways"].values()] == [0.5, 0.5]


def test_kappas_interval_is_wider_where_few_documents_are_drawn() -> None:
    names = [f"q{n:02}" for n in range(40)]
    grades = {(name, "m", "rag"): graded(0.9 if n % 2 else 0.1) for n, name in enumerate(names)}
    # The reader agrees on the first 30, and says the opposite of the last ten, which are on one document.
    cases = [case(name, bool(n % 2) == (n < 30)) for n, name in enumerate(names)]
    alone = agreement(cases, grades, {}, seed=1)
    together = agreement(cases, grades, {name: f"d{n // 10}" for n, name in enumerate(names)}, seed=1)
    # 30 of 40 agree, where chance agrees in half.
    assert alone["kappa"] == together["kappa"] == pytest.approx(0.5)
    narrow, wide = alone["kappa_interval"], together["kappa_interval"]
    assert wide["low"] < narrow["low"] < 0.5 < narrow["high"] < wide["high"]
    # Of four documents, none or all may be the last one.
    assert wide["high"] == pytest.approx(1.0)
    assert agreement(cases, grades, {}, seed=1) == alone


def test_a_threshold_that_fits_better_is_found_on_other_cases() -> None:
    # Right from 0.3 on; at 0.5 the twenty of 0.4 are taken for wrong.
    recalls = [0.2, 0.4, 0.4, 0.8] * 10
    grades = {(f"q{n:02}", "m", "rag"): graded(recall) for n, recall in enumerate(recalls)}
    found = agreement([case(key[0], grade.gold_recall >= 0.3) for key, grade in grades.items()], grades, {})[
        "gold_recall"
    ]
    assert found["agreement"] == pytest.approx(0.5)
    assert found["cross_validated"] == 1.0
    assert found["thresholds"] == [0.4] * 5


def test_verdicts_are_read_from_a_file(tmp_path: Path) -> None:
    row = {"id": "q1", "model": "m", "mode": "long_context", "task": "location", "verdict": "right", "note": "same"}
    bad: list[Any] = []
    found = read_cases(write(tmp_path / "v.jsonl", row, {**row, "verdict": "maybe"}), bad.append)
    assert found == [Case(("q1", "m", "full"), "location", True)]
    assert [line.line for line in bad] == [2]


def test_verdicts_on_other_predictions_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="none of the 1 verdicts"):
        agreement([case("gone", True)], {("a", "m", "rag"): graded(0.9)}, {})


def test_grades_beside_the_scores_that_came_with_the_predictions() -> None:
    def prediction(name: str, stored: Stored | None) -> Prediction:
        return Prediction(name, "m", "rag", "", stored)

    predictions = [
        prediction("a", Stored(0.0, 0.5, True)),
        prediction("b", Stored(0.0, 1.0, False)),
        prediction("c", None),
    ]
    grades = {
        ("a", "m", "rag"): Grade(1.0, 0.0, 0.5, True),
        ("b", "m", "rag"): Grade(0.8, 0.0, 0.8, True),
        ("c", "m", "rag"): Grade(0.0, 0.0, 0.0, False),
    }
    found = against_stored(predictions, grades, unanswerable={"a"})
    assert found["predictions"] == 2
    # gold_recall differs by 0 and 0.2.
    assert found["gold_recall"]["close"] == 0.5
    assert found["gold_recall"]["mean_difference"] == pytest.approx(0.1)
    assert found["gold_recall"]["correlation"] == pytest.approx(1.0)
    assert found["token_f1"]["correlation"] is None
    assert found["refused"]["unanswerable"] == {"both": 1, "only_stored": 0, "only_ours": 0, "neither": 0}
    assert found["refused"]["answerable"] == {"both": 0, "only_stored": 0, "only_ours": 1, "neither": 0}
    assert against_stored(predictions[2:], grades, set()) is None

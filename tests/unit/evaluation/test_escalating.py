"""Escalation over the rows of a run: how it is replayed, fitted, reported, and what lacks signals."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rows import row

from turnout.config import Settings
from turnout.database import Database
from turnout.router.calibration import support as fitting
from turnout.router.calibration.quality_store import Made, load_support, save
from turnout.router.evaluation.escalating import cases, play, worth
from turnout.router.quality import prior
from turnout.router.support import ByRule, Support
from turnout.router.support_model import GRID, ByModel

ROOT = Path(__file__).parents[3]


def support(*, held: float | None = 1.0, found: int = 1, abstained: bool = False, **others: Any) -> dict[str, Any]:
    own = Support("location", abstained, abstained, 1, found, found, None if abstained else held, 0.5, **others)
    return own.record()


def question(number: int, rag: dict[str, Any], full: dict[str, Any] | None, **changes: Any) -> list[dict[str, Any]]:
    """The rows of one question; `rag` and `full` are (score, support, answer ...)."""
    about = {"cluster": f"doc{number % 40}", "dataset": "set", "answer_type": "extractive"} | changes
    rows = [row(f"q{number}", "rag", **about | rag)]
    if full is not None:
        rows.append(row(f"q{number}", "full", **about | full))
    for each in rows:
        each["context_tokens"] = 5000
        each["predicted"] = each["predicted"] | {"prompt_tokens": 1000 if each["strategy"] == "rag" else 5000}
    return rows


BORNE = {"score": 1.0, "support": support(), "answer": "Marta"}
LOST = {"score": 0.0, "support": support(held=0.0, found=0), "answer": "Jonas"}
NONE = {"score": 0.0, "support": support(abstained=True), "answer": "Not in the text.", "abstained": True}


def run_of(questions: int = 200, seed: int = 1) -> list[dict[str, Any]]:
    """A run in which what is borne is right mostly, and full answers where rag does not."""
    rng, rows = random.Random(seed), []
    for number in range(questions):
        right = rng.random() < 0.6
        tells = rng.random() < 0.9
        rag = BORNE if right else LOST
        if not tells:
            rag = rag | {"support": (LOST if right else BORNE)["support"]}
        rows += question(number, rag, BORNE if rng.random() < 0.8 else LOST)
    return rows


def test_what_is_replayed_is_asked_in_turn_and_paid_for() -> None:
    (case,), _ = cases(question(1, LOST, BORNE))
    assert [outcome.strategy for outcome in case.outcomes] == ["rag", "full"]
    first, asked_on = play(case, None), play(case, ByRule())
    assert (first.score, first.asked) == (0.0, 1)
    assert (asked_on.score, asked_on.asked, asked_on.given) == (1.0, 2, 1)
    assert asked_on.seconds == pytest.approx(sum(outcome.seconds for outcome in case.outcomes))
    kept = play(cases(question(1, BORNE, LOST))[0][0], ByRule())
    assert (kept.score, kept.asked) == (1.0, 1)


def test_what_the_router_chose_is_asked_first_and_what_reads_the_same_not_at_all() -> None:
    rows = question(1, LOST, BORNE)
    (case,), _ = cases([*rows, row("q1", "router", chosen="full")])
    assert [outcome.strategy for outcome in case.outcomes] == ["full", "rag"]
    for each in rows:
        each["predicted"]["prompt_tokens"] = 5000
    assert [outcome.strategy for outcome in cases(rows)[0][0].outcomes] == ["rag"]


def test_an_answer_that_is_given_up_scores_as_the_abstention_it_is() -> None:
    (case,), _ = cases(question(1, LOST, None, answer_type="unanswerable"))
    assert worth(case, case.outcomes[0], abstains=True) == 1.0
    assert worth(case, case.outcomes[0], abstains=False) == 0.0
    (case,), _ = cases(question(1, NONE, None, answer_type="extractive"))
    assert play(case, ByRule()).abstained and play(case, ByRule()).score == 0.0


def test_rows_without_signals_are_counted_by_strategy() -> None:
    rows = [*question(1, BORNE, LOST), row("q2", "rag"), row("q2", "full"), row("q3", "rag", None, error={"kind": "x"})]
    found, lacking = cases(rows)
    assert len(found) == 1 and lacking == {"rag": 1, "full": 1}
    told = fitting.calibrate(rows)
    assert told.model is None and told.report["lacking"] == lacking and told.report["questions"] == 1


def test_fitted_probabilities_hold_on_documents_that_were_left_out() -> None:
    found, _ = cases(run_of())
    heads = {place: fitted for fitted, _, outside in fitting.by_folds(found) for place in outside}
    low, *_, high = fitting.reliability(found, heads)
    assert low["right"] < 0.4 < 0.8 < high["right"]
    for part in (low, high):
        assert abs(part["predicted"] - part["right"]) < 0.1


def test_a_gain_that_was_measured_turns_escalation_on_and_none_leaves_it_off() -> None:
    told = fitting.calibrate(run_of(120))
    assert told.model is not None and told.model.keep_from is not None
    assert told.report["gain"]["low"] > 0 and told.report["seconds"] > 0
    same = [each for number in range(60) for each in question(number, BORNE if number % 3 else LOST, LOST)]
    useless = fitting.calibrate(same)
    assert useless.model is not None and useless.model.keep_from is None


def test_the_bound_holds_on_questions_that_it_was_not_made_from() -> None:
    """What conformal risk control promises is a mean over draws of calibration and question."""
    lost = []
    for seed in range(12):
        model = fitting.bound(cases(run_of(seed=seed))[0])
        judge = ByModel(model.heads, model.keep_from(0.1))
        for case in cases(run_of(seed=100 + seed))[0]:
            first = case.outcomes[0]
            best = max(outcome.score for outcome in case.outcomes)
            lost.append(best - first.score if judge.judge(first.support).keeps else 0.0)
    assert np.mean(lost) <= 0.1
    assert model.keep_from(0.9) < model.keep_from(0.1) <= GRID[-1]


def test_outcomes_that_are_all_alike_still_have_a_finite_probability() -> None:
    rows = [each for number in range(60) for each in question(number, BORNE, BORNE)]
    model = fitting.calibrate(rows).model
    assert model is not None
    right, nothing = model.heads.of(Support.from_record(support()))
    assert 0.8 < right < 1 and 0 < nothing < 0.2


def test_a_calibration_is_kept_beside_that_of_quality(tmp_path: Path) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    made = Made("plain", None, ("rag", "full"), 48, "2026-11-23")
    model = fitting.calibrate(run_of(60)).model
    save(database, "model-1", prior(None), made, model)
    assert load_support(database, "model-1", "plain", None) == model
    assert load_support(database, "model-1", "numbered", None) is None
    assert load_support(database, "model-2", "plain", None) is None
    save(database, "model-1", prior(None), made)
    assert load_support(database, "model-1", "plain", None) is None
    database.close()


def test_the_benchmark_replays_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import escalation

    unanswerable = question(500, LOST, NONE | {"score": 1.0}, answer_type="unanswerable")
    told = escalation.figures(cases([*run_of(80), *unanswerable])[0])
    policies = told["policies"]
    assert set(policies) == {"first", "self_route", "rule", "calibrated"}
    assert policies["rule"]["gain"]["mean"] > 0 == policies["first"]["gain"]["mean"]
    assert policies["rule"]["seconds"] > policies["first"]["seconds"]
    assert (
        policies["rule"]["abstention_recall"]["hits"] == 1 and policies["self_route"]["abstention_recall"]["hits"] == 0
    )
    assert 0 < policies["rule"]["false_keep"]["mean"] < 0.5 and policies["first"]["false_escalate"] is None
    asked = [point["asked"] for point in told["curve"]]
    assert asked == sorted(asked), "who wants more certainty asks more"
    assert escalation.with_counts(row("q1", "rag"))["support"]["found"] >= 0

"""Learning from an evaluation what strategies score: what is learned, what it is worth, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support import questions as towns
from support.routing import signals, surely
from support.rows import row

from turnout import calibrate, evaluate
from turnout.cli.main import cli
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError
from turnout.router.calibration.quality import Observed, check_enough, fit, held_out, observe, reliability
from turnout.router.calibration.quality_report import _always
from turnout.router.calibration.quality_store import Made, load, save
from turnout.router.evaluation.rows import read_decisions, read_run
from turnout.router.kinds import KINDS
from turnout.router.quality import QualityModel, prior
from turnout.types import Budget, Context

PRIOR = prior(135_000_000)
MADE = Made("plain", None, ("rag", "full"), 48, "2026-11-23")


def observed(number: int, full: float, rag: float, kind: str = "location", **others: float) -> Observed:
    at = signals(kinds=surely(kind))
    return Observed(
        f"q{number}", "set", f"doc{number % 100}", at, {"full": full, "rag": rag, **others}, same_text=False
    )


def expected(model: QualityModel, strategy: str, kind: str = "location") -> float:
    return model.expected(strategy, signals(kinds=surely(kind))).quality


def test_what_was_scored_is_what_is_expected_afterwards() -> None:
    seen = [observed(n, full=0.9, rag=0.5, kind=KINDS[n % 4]) for n in range(200)]
    fitted = fit(PRIOR, seen)
    for kind in KINDS[:4]:
        assert expected(fitted, "rag", kind) == pytest.approx(0.5, abs=0.06)
        assert expected(fitted, "full", kind) == pytest.approx(0.9, abs=0.15)
    assert "200 questions of 1 sets measured here" in fitted.basis


def test_gains_are_told_apart_by_kind() -> None:
    compared = [observed(n, full=0.8, rag=0.4, kind="comparison") for n in range(100)]
    placed = [observed(n, full=0.3, rag=0.5, kind="location") for n in range(100)]
    fitted = fit(PRIOR, compared + placed)
    assert expected(fitted, "full", "comparison") > expected(fitted, "rag", "comparison")
    assert expected(fitted, "full", "location") < expected(fitted, "rag", "location")


def test_a_strategy_that_the_prior_does_not_know_joins_by_calibration_alone() -> None:
    fitted = fit(PRIOR, [observed(n, full=0.4, rag=0.4, extract=0.8) for n in range(200)])
    assert fitted.others == ("full", "extract")
    assert expected(fitted, "extract") > expected(fitted, "rag") + 0.2
    again = QualityModel.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert expected(again, "extract") == pytest.approx(expected(fitted, "extract"), abs=1e-4)


def test_many_questions_of_one_document_count_less_than_as_many_of_many() -> None:
    def group(name: str, number: int) -> Observed:
        return Observed(f"q{number}", "set", name, signals(), {"full": 1.0, "rag": 0.2}, same_text=False)

    one = fit(PRIOR, [group("a", n) for n in range(50)])
    many = fit(PRIOR, [group(f"d{n}", n) for n in range(50)])
    assert expected(PRIOR, "rag") > expected(one, "rag") > expected(many, "rag")


def test_reliability_is_of_questions_whose_documents_were_left_out() -> None:
    rng = np.random.default_rng(7)
    hard = rng.random(200) < 0.5
    seen = [
        observed(n, full=0.5, rag=float(rng.random() < (0.2 if hard[n] else 0.8)), kind=KINDS[int(hard[n])])
        for n in range(200)
    ]
    pairs = list(held_out(PRIOR, seen))
    assert len(pairs) == 200 and len({id(model) for _, model in pairs}) == 5
    low, *_, high = reliability(pairs, "rag")
    assert low["scored"] < 0.4 < 0.6 < high["scored"]
    for found in (low, high):
        assert abs(found["predicted"] - found["scored"]) < 0.2


def test_what_was_left_out_or_cut_teaches_nothing_of_full_and_always_full_takes_rag_there() -> None:
    limit = {"limit": "window", "allowed": 8192, "needed": 9000}
    fulls = [row("q0", "full", None, left_out=limit), row("q1", "full", 0.4, truncated=True), row("q2", "full", 0.7)]
    rows = [{**line, "decision_id": line["question_id"]} for line in [*fulls, *(row(f"q{n}", "rag") for n in range(3))]]
    candidates = [{"strategy": "rag", "prompt_tokens": 1000}]
    decision = {"signals": json.loads(json.dumps(dict(signals().record()))), "candidates": candidates}
    seen = observe(rows, {f"q{n}": decision for n in range(3)})
    assert {each.question_id: set(each.scores) for each in seen} == {
        "q0": {"rag"}, "q1": {"rag"}, "q2": {"full", "rag"}
    }  # fmt: skip
    choose = _always("full", {(line["question_id"], line["strategy"]): line for line in rows})
    assert {each.question_id: choose(each) for each in seen} == {"q0": "rag", "q1": "full", "q2": "full"}


def test_too_little_is_refused_with_what_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="20 questions over 20 documents are too few") as caught:
        check_enough([observed(n, 1, 0) for n in range(20)])
    assert "at least 40 questions over 10 documents" in (caught.value.hint or "")


def test_a_calibration_is_kept_and_one_made_otherwise_is_not_used(tmp_path: Path) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    save(database, "model-1", PRIOR, MADE)
    found = load(database, "model-1", "plain", None)
    assert found is not None and expected(found, "rag") == pytest.approx(expected(PRIOR, "rag"), abs=1e-4)
    assert load(database, "model-2", "plain", None) is None
    with pytest.warns(UserWarning, match="another embedder"):
        assert load(database, "model-1", "plain", "other") is None
    with pytest.warns(UserWarning, match="another prompt format"):
        assert load(database, "model-1", "numbers", None) is None
    database.close()


def test_a_calibration_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database.at(Settings.load(home=tmp_path))
    save(database, "model-1", PRIOR, MADE)
    monkeypatch.setattr("turnout.router.quality.VERSION", 99)
    with pytest.warns(UserWarning, match="version 1, not 99"):
        assert load(database, "model-1", "plain", None) is None
    database.close()


# --- from a run to decisions -----------------------------------------------------------------------------------------


def many(folder: Path, documents: int = 12, each: int = 4) -> tuple[Path, Path]:
    """Questions over documents that rag can't read whole."""
    texts, asked = [], []
    for number in range(documents):
        name = f"towns/{number}"
        filler = [f"On day {n} the market of town {number} sold {n * 7 + number} kinds of cloth." for n in range(120)]
        filler[60] += " Every bridge was built in 1801."
        texts.append({"doc_id": name, "dataset": "towns", "title": f"town {number}", "text": " ".join(filler)})
        asked += [
            towns.question(0)
            | {"id": f"q-{number}-{n}", "question": f"When was bridge {n} built?", "doc_ids": [name], "evidence": None}
            for n in range(each)
        ]
    return towns.write(folder, asked, texts)


def whole_text_only(context: Context) -> str:
    """A reader that finds the answer only where it has the whole text."""
    return "1801" if sum(len(part.text) for part in context.parts) > 6000 else "cloth of the market"


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("calibrated")
    questions, documents = many(folder / "data")
    found = calibrate.quality(
        run=folder / "run",
        questions=[questions],
        documents=[documents],
        engine=FakeEngine(whole_text_only),
        home=folder / "home",
    )
    return folder, found


def test_calibrating_runs_the_evaluation_fits_and_reports(calibrated: tuple[Path, dict[str, Any]]) -> None:
    folder, found = calibrated
    assert (found["questions"], found["documents"], found["datasets"]) == (48, 12, 1)
    policies = found["policies"]
    assert policies["full"]["macro"] > policies["rag"]["macro"] + 0.3
    assert policies["router"]["macro"] == policies["full"]["macro"], "learned from other documents"
    assert policies["router"]["full_share"] == 1
    gains = {(gain["strategy"], gain["kind"]): gain["gain"] for gain in found["gains"]}
    assert gains["full", "location"] > 0.2
    rows = [json.loads(line) for line in (folder / "run" / "rows.jsonl").read_text().splitlines()]
    assert len(observe(rows, read_decisions(folder / "run"))) == 48


def test_the_profile_then_decides(calibrated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from turnout import Text, Turnout

    folder, _ = calibrated
    text = Text(" ".join(f"On day {n} the market sold {n * 3} kinds of cloth." for n in range(170)))
    question = "When was bridge 9 built?"

    def plan(home: Path) -> Any:
        with Turnout(engine=FakeEngine(whole_text_only), home=home) as t:
            return t.plan(question, [text])

    assert plan(tmp_path / "new").chosen == "rag"
    decision = plan(folder / "home")
    assert decision.chosen == "full"
    assert "48 questions of 1 sets measured here" in decision.signals["basis"]
    assert decision["full"].quality_high - decision["full"].quality_low < 0.3


def test_the_router_decides_again_over_rows_that_are_there(calibrated: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = calibrated
    before = {row["question_id"]: row for row in rows_of(folder) if row["strategy"] == "router"}
    assert {row["chosen"] for row in before.values()} == {"rag"}
    engine = FakeEngine(whole_text_only)
    evaluate.run(
        [folder / "data" / "questions.jsonl"],
        [folder / "data" / "documents.jsonl"],
        folder / "run",
        strategies=("router",),
        engine=engine,
        home=folder / "home",
        decide_again=True,
    )
    after = {row["question_id"]: row for row in rows_of(folder) if row["strategy"] == "router"}
    assert {row["chosen"] for row in after.values()} == {"full"}
    assert len(engine.contexts) <= 1, "nothing is generated but the warm-up"


def test_the_router_is_judged_by_calibrations_on_other_documents(calibrated: tuple[Path, dict[str, Any]]) -> None:
    folder, found = calibrated
    copy = shutil.copytree(folder / "run", folder / "apart")
    engine = FakeEngine(whole_text_only)
    files = ([folder / "data" / "questions.jsonl"], [folder / "data" / "documents.jsonl"], copy)
    budget = Budget(optimize="latency", max_total_s=1000)
    facts = evaluate.run(*files, strategies=("router",), engine=engine, home=folder, cross_fit=True, budget=budget)
    rows = read_run(copy).rows
    chosen = {row["question_id"]: row["chosen"] for row in rows if row["strategy"] == "router"}
    assert set(chosen.values()) == {"full"}, "a home without a calibration: it is the run's own"
    assert facts["budget"]["optimize"] == "latency"
    assert len(engine.contexts) <= 1, "nothing is generated but the warm-up"
    told = evaluate.report(copy, with_page=False)["figures"]
    assert "calibrated on other documents" in evaluate.report_lines(told)[0]
    assert found["policies"]["router"]["full_share"] == 1
    with pytest.raises(ConfigurationError, match="holds a run with budget"):
        evaluate.run(*files, strategies=("router",), engine=engine, home=folder)
    with pytest.raises(ConfigurationError, match="holds a run with budget"):
        evaluate.run(*files, engine=engine, home=folder, cross_fit=True, budget=Budget(max_prompt_tokens=10))


def test_too_few_rows_to_calibrate_apart_are_refused(tmp_path: Path) -> None:
    questions, documents = many(tmp_path, documents=4)
    with pytest.raises(ConfigurationError, match="too few to calibrate on"):
        evaluate.run([questions], [documents], tmp_path / "run", engine=FakeEngine(), home=tmp_path, cross_fit=True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "rows.jsonl").read_text().splitlines()]


def test_bad_input_is_named(calibrated: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = calibrated
    with pytest.raises(ConfigurationError, match="no questions to learn from"):
        calibrate.quality(engine=FakeEngine(), home=tmp_path)
    with pytest.raises(ConfigurationError, match="is not an evaluation run"):
        calibrate.quality(run=tmp_path / "nothing", engine=FakeEngine(), home=tmp_path)
    with pytest.raises(ConfigurationError, match="was measured with fake, not with other"):
        calibrate.quality(run=folder / "run", engine=FakeEngine(name="other"), home=tmp_path)


def test_old_decisions_are_refused_with_what_to_do(calibrated: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = calibrated
    decisions = read_decisions(folder / "run")
    for decision in decisions.values():
        decision["signals"].pop("kinds")
    with pytest.raises(ConfigurationError, match="do not hold the signals") as caught:
        observe(rows_of(folder), decisions)
    assert "--decide-again" in (caught.value.hint or "")


def test_the_command_shows_policies_reliability_and_gains(
    calibrated: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = calibrated
    monkeypatch.setattr(calibrate, "quality", lambda **_: found)
    shown = CliRunner().invoke(cli, ["calibrate", "quality", "--run", "x"])
    assert shown.exit_code == 0, shown.output
    for word in ("router", "prior", "full", "48 questions", "reliability rag", "full over rag: location +"):
        assert word in shown.output, word
    as_json = CliRunner().invoke(cli, ["calibrate", "quality", "--run", "x", "--json"])
    assert json.loads(as_json.stdout)["questions"] == 48

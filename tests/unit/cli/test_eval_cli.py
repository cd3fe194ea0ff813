"""`turnout eval` and `turnout calibrate` on the fake engine, as a user types them."""

import json
from pathlib import Path

import pytest
from support import questions as towns


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    questions, documents = towns.towns(tmp_path / "data")
    return ["--questions", str(questions), "--documents", str(documents)]


def test_run_then_report_then_compare(turnout, asked: list[str], tmp_path: Path) -> None:
    out = tmp_path / "runs" / "mine"
    run = turnout("eval", "run", *asked, "--out", str(out))
    assert run.code == 0
    assert f"5 questions, 5 rows each; next: turnout eval report {out}" in run.out

    report = turnout("eval", "report", str(out), "--details")
    assert report.code == 0
    assert report.out.startswith("5 questions  4 documents  fake  ")
    for name in ("router", "full", "rag", "closed", "self_route", "task_rule", "random", "oracle"):
        assert f"\n  {name} " in report.out
    assert "https://" not in (out / "report.html").read_text()

    figures = json.loads(turnout("eval", "report", str(out), "--json").out)
    assert {entry["name"] for entry in figures["strategies"]} >= {"router", "oracle"}

    same = turnout("eval", "compare", f"{out}:full", f"{out}:rag", "--fail-under", "-0.01")
    assert (same.code, "passed" in same.out) == (0, True)
    worse = turnout("eval", "compare", f"{out}:full", f"{out}:closed", "--fail-under", "0.9", "--json")
    assert worse.code == 1
    assert json.loads(worse.out)["failed"]


def test_what_was_too_long_is_counted_on_stderr(turnout, asked: list[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out"), "--strategies", "full,rag", "--max-prompt-tokens", "200"]
    run = turnout("eval", "run", *asked, *out)
    assert run.code == 0
    assert "left out of full: 5 questions, too long for: max_prompt_tokens 5" in run.err
    cut = turnout("eval", "run", *asked, *out[2:], "--out", str(tmp_path / "cut"), "--over-window", "cut")
    assert (cut.code, "left out of full" in cut.err) == (0, False)


def test_malformed_rows_are_named_on_stderr_and_strict_stops(turnout, asked: list[str], tmp_path: Path) -> None:
    questions = Path(asked[1])
    questions.write_text(questions.read_text() + '{"id": "broken"}\n' * 12)
    run = turnout("eval", "run", *asked, "--out", str(tmp_path / "out"), "--strategies", "rag")
    assert run.code == 0
    assert run.err.count(f"skipped: {questions}:") == 10
    assert "skipped: 2 more malformed rows" in run.err
    strict = turnout("eval", "run", *asked, "--out", str(tmp_path / "strict"), "--strict")
    assert strict.code == 2
    assert f"malformed rows: 12, the first: {questions}:6" in strict.err


def test_slips_are_answered(turnout, asked: list[str], tmp_path: Path) -> None:
    assert "did you mean `turnout eval report`?" in turnout("eval", "repotr", "x").err
    assert "did you mean 'rag'?" in turnout("eval", "run", *asked, "-o", str(tmp_path), "--strategies", "ragg").err
    assert "is not an evaluation run" in turnout("eval", "report", str(tmp_path)).err
    both = turnout("eval", "run", *asked, "-o", str(tmp_path / "o"), "--limit", "2", "--set", "dev300")
    assert (both.code, "exclude each other" in both.err) == (2, True)
    missing = turnout("eval", "run", "-q", "nowhere.jsonl", "-d", asked[3], "-o", str(tmp_path / "o"))
    assert missing.code == 2
    assert "nowhere.jsonl" in missing.err


def test_a_set_of_ids_is_taken_from_a_file(turnout, asked: list[str], tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("# two of them\ntowns-2\ntowns-0\n")
    out = tmp_path / "out"
    assert turnout("eval", "run", *asked, "-o", str(out), "--set", str(ids), "--strategies", "closed").code == 0
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in rows] == ["towns-2", "towns-0"]


def test_calibrate_window_says_what_it_will_take_and_what_it_found(turnout) -> None:
    run = turnout("calibrate", "window", "--sizes", "256,512", "--documents", "2", "--questions", "1", "--seeds", "1")
    assert run.code == 0
    assert "needle" in run.out
    assert "comparison" in run.out

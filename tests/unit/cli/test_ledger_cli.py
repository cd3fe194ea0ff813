"""`turnout regret`, `log purge`, `feedback --strategy`, and the options of `ask` that they follow from."""

import io
import json
from pathlib import Path

import pytest
from support.library import BOOK

LAMP = "Who repaired the lighthouse lamp?"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK * 6, encoding="utf-8")
    return path


def test_a_plan_counts_the_questions_to_come(turnout, book) -> None:
    plan = json.loads(turnout("ask", str(book), LAMP, "--plan", "--json", "--expected-questions", "40").out)
    assert plan["signals"]["expected_questions"] == 40
    assert "40 questions over these documents are expected" in plan["because"]
    assert all(candidate["later_s"] == candidate["total_s"] for candidate in plan["candidates"]), (
        "what a process that ends has read serves nobody"
    )
    assert turnout("ask", str(book), LAMP, "--expected-questions", "0").code == 2


def test_shadow_mode_runs_what_the_user_fixed(turnout, book) -> None:
    assert turnout("ask", str(book), LAMP, "--shadow", "full").code == 0
    assert "on paper rag" in turnout("log").out
    assert "because     on paper: rag instead of full" in turnout("explain", entry(turnout)).out
    told = turnout("regret").out
    assert "nothing was measured yet of 1 answers" in told
    assert "shadow: the router would have chosen otherwise for 1 of 1 answers (full -> rag 1)" in told
    both = turnout("ask", str(book), LAMP, "--shadow", "full", "--strategy", "rag")
    assert (both.code, "leave one out" in both.err) == (2, True)
    assert turnout("ask", str(book), LAMP, "--shadow", "fulll").code == 2


def entry(turnout) -> str:
    return str(json.loads(turnout("log", "-n", "1", "--json").out)["id"])


def test_regret_is_measured_shown_and_judged(turnout, book) -> None:
    turnout("ask", str(book), LAMP, "--log", "full")
    told = turnout("regret", "--measure", "5", "--log", "full")
    assert told.code == 0
    head, titles, *rows = told.out.splitlines()
    assert head == "measured now: 1 questions, 1 answers of other strategies"
    assert titles.split()[:2] == ["n", "documents"]
    assert [row.split()[0] for row in rows[:2]] == ["location", "all"]
    found = json.loads(turnout("regret", "--json").out)
    assert found["kinds"][-1]["questions"] == 1 and found["drift"] == []
    assert "beside      full: the same answer" in turnout("explain", entry(turnout)).out
    assert turnout("feedback", entry(turnout), "good", "--strategy", "full").code == 0
    assert turnout("feedback", entry(turnout), "good", "--strategy", "soft").code == 2
    assert turnout("regret", "--measure", "5", "--log", "decisions", "--max-s", "0").code == 2


def test_purging_asks_before(turnout, book, monkeypatch) -> None:
    for _ in range(2):
        turnout("ask", str(book), LAMP)
    for given in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        refused = turnout("log", "purge", "--all")
        assert (refused.code, "nothing was deleted" in refused.err) == (1, True)
    assert len(turnout("log").out.splitlines()) == 2
    assert turnout("log", "purge", "--older-than", "1d", "--yes").err.strip() == "no such answers in the ledger"
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "deleted 2 answers" in turnout("log", "purge", "--document", str(book)).err
    assert "no answers yet" in turnout("log").err


@pytest.mark.parametrize(
    "options", [(), ("--all", "--older-than", "1d"), ("--older-than", "soon"), ("--document", "nobody.txt")]
)
def test_a_purge_that_cannot_be_meant_is_a_usage_error(turnout, options) -> None:
    assert turnout("log", "purge", "--yes", *options).code == 2

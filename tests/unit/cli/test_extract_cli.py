"""extract on the command line: listed with its tier, planned with its estimate, asked for by name."""

import json
from pathlib import Path

import pytest
from support.library import BOOK

QUESTION = "Who repaired the lighthouse lamp?"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK, encoding="utf-8")
    return path


def test_strategies_are_listed_with_tier_and_evidence(turnout) -> None:
    listed = {entry["name"]: entry for entry in map(json.loads, turnout("strategies", "--json").out.splitlines())}
    for name in ("extract", "extract:exit", "extract:code", "extract:draft"):
        assert listed[name]["tier"] == "preview"
        assert "arXiv" in listed[name]["evidence"]


def test_a_plan_shows_what_it_would_take_and_that_nobody_takes_it_unasked(turnout, book) -> None:
    (line,) = (line for line in turnout("ask", str(book), QUESTION, "--plan").out.splitlines() if "extract" in line)
    assert "excluded: not measured with this model" in line
    assert " s " in line and "GiB" in line
    run = turnout("ask", str(book), QUESTION, "--plan", "--strategy", "extract")
    assert run.out.splitlines()[1].startswith("> extract ")
    assert "asked for by name" in run.out


def test_asked_for_by_name_it_answers_and_is_explained(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--strategy", "extract", "--json")
    assert run.code == 0, run.err
    answer = json.loads(run.out)
    assert "Marta Lindqvist" in answer["text"]
    (cited,) = answer["citations"]
    assert BOOK[cited["start"] : cited["end"]] == cited["quote"]
    assert answer["usage"]["prompt_tokens"] < 500
    explained = turnout("explain", answer["id"]).out
    assert "> extract" in explained
    assert f"prompt {answer['usage']['prompt_tokens']:,}" in explained


def test_nothing_wanted_is_an_abstention_without_a_model_call(turnout, book) -> None:
    run = turnout("ask", str(book), "zebra quagga okapi?", "--strategy", "extract", "--json")
    assert run.code == 3
    assert json.loads(run.out)["usage"]["prompt_tokens"] == 0


def test_what_this_model_can_not_do_is_refused_with_the_reason(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--strategy", "extract:exit")
    assert run.code != 0
    assert "extract:exit: needs a model that this machine runs" in run.err
    assert "did you mean 'extract'" in turnout("ask", str(book), QUESTION, "--strategy", "extrakt").err

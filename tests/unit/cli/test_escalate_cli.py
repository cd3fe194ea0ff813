"""`turnout ask --escalate`: what is printed where, and what a slip is answered with."""

import json
from pathlib import Path

import pytest
from support.library import BOOK

from turnout.engines.fake import FakeEngine
from turnout.types import Context

QUESTION = "Who repaired the lighthouse lamp?"
FOUND = 'Marta Lindqvist\nQuote: "Marta Lindqvist repaired the lighthouse lamp"'
LOST = 'A railway\nQuote: "nobody wrote this"'


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that passages are a part of, and a reader that finds the answer only in the whole."""

    def answer(context: Context) -> str:
        return (
            FOUND if sum(len(part.text) for part in context.parts) > 12_000 else 'A railway\nQuote: "nobody wrote this"'
        )

    monkeypatch.setattr("turnout.parts.open_engine", lambda settings: FakeEngine(answer, window=20_000))
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"{BOOK} ({number})" for number in range(6)), encoding="utf-8")
    return path


def test_what_is_asked_instead_is_told_and_only_the_answer_is_printed(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--escalate", "before_text", "--stream")
    assert run.code == 0 and run.out.startswith("Marta Lindqvist [1]\n")
    assert "asked instead: full:" in run.err and run.err.count("tokens, ") == 1
    assert "note: rag was asked too: none of its quotes stands in the text" in run.err


def test_what_was_shown_is_taken_back(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--escalate", "always", "--stream")
    assert run.out.startswith("A railway\nMarta Lindqvist [1]\n")
    assert "taken back: none of its quotes stands in the text" in run.err


def test_attempts_are_in_json_and_without_the_flag_there_are_none(turnout, book) -> None:
    asked = json.loads(turnout("ask", str(book), QUESTION, "--escalate", "before_text", "--json").out)
    assert [each["strategy"] for each in asked["usage"]["attempts"]] == ["rag"]
    plain = json.loads(turnout("ask", str(book), QUESTION, "--json").out)
    assert (plain["text"], plain["usage"]["attempts"], plain["confidence"]) == ("A railway", [], None)


def test_a_bound_without_a_calibration_says_what_it_takes(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--max-regret", "0.1")
    assert run.code == 2 and "at least 18 documents" in run.err
    assert turnout("ask", str(book), QUESTION, "--escalate", "maybe").code == 2

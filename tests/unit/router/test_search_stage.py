"""The search before a decision: only where it is close and costs no loading or indexing, and never twice."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.embedders import WordEmbedder

from turnout import Text, Turnout
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.router import policy
from turnout.router.calibration.quality_store import Made, save
from turnout.router.quality import prior

TEXT = Text(" ".join(f"On day {n} the market sold {n * 3} kinds of cloth." for n in range(170)), "market.txt")
QUESTION = "How many kinds of cloth did the market sell on day 9?"


class Counting(WordEmbedder):
    """Counts what it embeds by text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Any:
        self.seen += texts
        return super().embed(texts, progress)


@pytest.fixture
def searching(tmp_path: Path) -> Path:
    """A data directory with a calibration of the fake engine that searches."""
    database = Database.at(Settings.load(home=tmp_path))
    embedder = WordEmbedder().fingerprint
    model = replace(prior(None), search=True)
    save(database, FakeEngine().model.fingerprint, model, Made("", embedder, ("rag", "full"), 40, "2026-11-23"))
    database.close()
    return tmp_path


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "SEARCH_MOVES", 1.0)


def test_the_first_question_is_decided_without_a_search_and_the_next_with_one(close: None, searching: Path) -> None:
    embedder = Counting()
    with Turnout(engine=FakeEngine(), embedder=embedder, home=searching) as t:
        assert t.plan(QUESTION, [TEXT]).signals["search"] is None
        assert embedder.seen == [], "planning indexes nothing"
        t.ask(QUESTION, [TEXT], strategy="rag")
        decision = t.plan(QUESTION, [TEXT])
        assert 0 < decision.signals["search"]["peak"] <= 1
        assert 0 <= decision.signals["search"]["missing"] <= 1
        assert any(line.startswith("searched: best match") for line in decision.because)


def test_a_question_is_embedded_once_for_the_decision_and_for_rag(close: None, searching: Path) -> None:
    embedder = Counting()
    with Turnout(engine=FakeEngine(), embedder=embedder, home=searching) as t:
        t.ask(QUESTION, [TEXT], strategy="rag")
        other = "What did the market sell?"
        answer = t.ask(other, [TEXT])
        assert answer.decision.chosen == "rag" and answer.decision.signals["search"] is not None
        assert embedder.seen.count(other) == 1


def test_a_decision_that_is_not_close_needs_no_search(monkeypatch: pytest.MonkeyPatch, searching: Path) -> None:
    monkeypatch.setattr(policy, "SEARCH_MOVES", 0.0)
    embedder = Counting()
    with Turnout(engine=FakeEngine(), embedder=embedder, home=searching) as t:
        t.ask(QUESTION, [TEXT], strategy="rag")
        before = len(embedder.seen)
        assert t.plan("What did the market sell?", [TEXT]).signals["search"] is None
        assert len(embedder.seen) == before


def test_without_a_calibration_that_searches_no_decision_does(close: None, tmp_path: Path) -> None:
    with Turnout(engine=FakeEngine(), embedder=Counting(), home=tmp_path) as t:
        t.ask(QUESTION, [TEXT], strategy="rag")
        assert t.plan("What did the market sell?", [TEXT]).signals["search"] is None

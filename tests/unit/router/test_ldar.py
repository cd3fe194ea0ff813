"""rag:ldar: reads what its policy picks, within every limit, at least one passage; and says why it can't."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bands import Fixed, saved
from support.embedders import WordEmbedder
from support.library import BOOK, library_corpus
from support.routing import PROFILE, signals

from turnout import Budget, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, ModelError
from turnout.langchain import TurnoutRetriever
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.ldar import LdarRetriever
from turnout.router.questions import read
from turnout.router.strategies.ldar import RagLdar
from turnout.types import Context

QUESTION = "Who repaired the lighthouse lamp?"
ANSWER = "In 1893 Marta Lindqvist repaired the lighthouse lamp"


def strategy(policy: Fixed | None, engine: FakeEngine | None = None, tokens: int | None = None) -> RagLdar:
    embedder = WordEmbedder()
    ldar = None if policy is None else LdarRetriever(embedder, policy)
    return RagLdar(engine or FakeEngine(), HybridRetriever(embedder), ldar, tokens)


def prepared(member: RagLdar, home: Path, text: str = BOOK, budget: Budget | None = None) -> Context:
    corpus = library_corpus(home, WordEmbedder(), text)
    member.warm(corpus)
    return member.prepare(read(QUESTION, [], len), corpus, budget or Budget())


def test_the_band_is_what_is_read(tmp_path: Path) -> None:
    best, second = prepared(strategy(Fixed(0, 1)), tmp_path), prepared(strategy(Fixed(1, 1)), tmp_path)
    assert ANSWER in "".join(part.text for part in best.parts)
    assert second.parts and ANSWER not in "".join(part.text for part in second.parts)
    both = prepared(strategy(Fixed(0, 2)), tmp_path)
    assert sum(len(part.text) for part in both.parts) >= sum(len(p.text) for p in (*best.parts, *second.parts))


def test_of_a_wide_band_the_upper_end_is_read_that_fits(tmp_path: Path) -> None:
    engine = FakeEngine()
    for tokens in (300, 700):
        context = prepared(strategy(Fixed(0, 500), engine, tokens), tmp_path, BOOK * 4)
        assert context.parts
        assert sum(engine.count_text(part.text) for part in context.parts) <= tokens
    limited = prepared(strategy(Fixed(0, 500), engine, 5000), tmp_path, BOOK * 4, Budget(max_prompt_tokens=500))
    assert limited.parts and engine.count(limited) <= 500


def test_the_policy_says_how_much_is_read_unless_the_caller_does() -> None:
    at = signals(document_tokens=20_000)
    estimated = strategy(Fixed(0, 1, most_tokens=2500)).estimate(at, PROFILE, Budget()).prompt_tokens
    asked = strategy(Fixed(0, 1, most_tokens=2500), tokens=600).estimate(at, PROFILE, Budget()).prompt_tokens
    assert (estimated, asked) == (2560, 660)


def test_without_a_policy_or_with_another_readers_it_excludes_itself() -> None:
    why = strategy(None).estimate(signals(), PROFILE, Budget()).excluded_by
    assert why is not None and "turnout train ldar" in why.why
    why = strategy(Fixed(0, 1, reader="qwen")).estimate(signals(), PROFILE, Budget()).excluded_by
    assert why is not None and why.why == "its policy was trained for qwen, not for fake"
    assert strategy(Fixed(0, 1, reader="fake")).estimate(signals(), PROFILE, Budget()).excluded_by is None


def test_an_answer_and_a_search_by_trained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = WordEmbedder()
    folder = saved(tmp_path / "ldar", embedder=embedder.fingerprint[:12])
    with Turnout(engine=FakeEngine(), embedder=embedder, ldar=folder) as t:
        answer = t.ask(QUESTION, Text(BOOK, "book.md"), strategy="rag:ldar")
        assert answer.decision.chosen == "rag:ldar"
        hits = t.search(QUESTION, Text(BOOK, "book.md"), limit=3, retriever="ldar")
        assert 1 <= len(hits) <= 3
        assert all(hit.text == BOOK[hit.start : hit.end] and hit.cosine == pytest.approx(hit.score) for hit in hits)
        found = TurnoutRetriever(turnout=t, documents=Text(BOOK), retriever="ldar", k=2).invoke(QUESTION)
        assert [each.page_content for each in found] == [hit.text for hit in hits[:2]]
    monkeypatch.setenv("TURNOUT_LDAR", str(folder))
    with (
        Turnout(engine=FakeEngine(), embedder=WordEmbedder("other")) as t,
        pytest.raises(ConfigurationError, match="was trained with the embedder"),
    ):
        t.ask(QUESTION, Text(BOOK))
    monkeypatch.setenv("TURNOUT_LDAR", str(tmp_path / "nowhere"))
    with Turnout(engine=FakeEngine(), embedder=embedder) as t, pytest.raises(ModelError, match="can't be read"):
        t.ask(QUESTION, Text(BOOK))


def test_without_a_policy_a_search_says_what_is_missing() -> None:
    with (
        Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as t,
        pytest.raises(ConfigurationError, match="needs an embedder and a policy"),
    ):
        t.search(QUESTION, Text(BOOK), retriever="ldar")

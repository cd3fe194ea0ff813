"""soft:ape: every document whole, over keys and values of segments that were read each by itself."""

from pathlib import Path

import pytest
from support import tiny_models
from support.able import AbleEngine
from support.library import BOOK
from support.routing import PROFILE, signals

from turnout import Budget, Text, Turnout
from turnout.compression.memory_cache import MemoryCache
from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.engines.parallel.kind import SCALE, TEMPERATURE, ParallelContext
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.retrieval.convert import convert_text
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.segment import segment
from turnout.router.questions import read
from turnout.router.strategies.full import Full
from turnout.router.strategies.soft_ape import SoftApe
from turnout.types import GenerationParams, Message, Token

QUESTION = "Who repaired the lighthouse lamp?"


def corpus_from(*texts: str) -> Corpus:
    documents = [convert_text(Text(text, f"{number}.txt")) for number, text in enumerate(texts)]
    return Corpus(documents, [each for document in documents for each in segment(document)])


def test_every_segment_is_read_once_whatever_is_asked() -> None:
    engine, cache = AbleEngine(), MemoryCache()
    strategy, corpus = SoftApe(engine, cache), corpus_from(BOOK, "A second one. It is short.")
    assert strategy.missing(corpus) == 1.0
    context = strategy.prepare(read(QUESTION, [], len), corpus, Budget())
    assert isinstance(context, ParallelContext)
    assert [part.text for part in context.parts] == [document.text for document in corpus.documents]
    assert [name for name, _ in context.segments] == [each.hash for each in corpus.segments]
    assert (context.temperature, context.scale) == (TEMPERATURE, SCALE)
    before = engine.read
    again = strategy.prepare(read("Where was it?", [], len), corpus, Budget())
    assert (engine.read, again.segments, strategy.missing(corpus)) == (before, context.segments, 0.0)
    told = (Message("system", "Be brief."), Message("user", "Hello."))
    assert strategy.prepare(read(QUESTION, told, len), corpus, Budget()).kind != context.kind
    assert engine.read > before


def test_of_one_segment_nothing_is_weighed() -> None:
    context = SoftApe(AbleEngine(), MemoryCache()).prepare(
        read(QUESTION, [], len), corpus_from("It is short."), Budget()
    )
    assert (len(context.segments), context.temperature, context.scale) == (1, 1.0, 1.0)


def test_a_document_of_one_segment_is_answered_as_full_does(tmp_path: Path) -> None:
    engine = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu", dtype="float32")
    corpus = corpus_from("The lamp was lit at night. Nobody lives on the island.")
    texts = []
    for strategy in (Full(engine), SoftApe(engine, MemoryCache())):
        context = strategy.prepare(read(QUESTION, [], len), corpus, Budget())
        events = engine.generate(context, GenerationParams(max_tokens=12))
        texts.append("".join(event.text for event in events if isinstance(event, Token)))
    assert texts[0] == texts[1] != ""


def test_cold_costs_reading_and_warm_next_to_nothing() -> None:
    strategy = SoftApe(AbleEngine(), MemoryCache())
    cold, half, warm = (
        strategy.estimate(signals(kv_missing=missing), PROFILE, Budget()) for missing in (None, 2000, 0)
    )
    assert (cold.scanned_tokens, half.scanned_tokens, warm.scanned_tokens) == (4000, 2000, 0)
    assert cold.ttft_s - warm.ttft_s == pytest.approx(4000 * PROFILE.per_token_s)
    full = Full(AbleEngine()).estimate(signals(), PROFILE, Budget())
    assert warm.ttft_s < half.ttft_s < cold.ttft_s
    assert warm.ttft_s < full.ttft_s / 2
    assert warm.prompt_tokens == full.prompt_tokens
    assert warm.memory_bytes == full.memory_bytes + 4 * 4000
    assert any("2,000 of 4,000 tokens are kept already" in reason for reason in half.reasons)
    assert not any("once" in reason for reason in warm.reasons)


def test_an_engine_that_can_not_says_so() -> None:
    strategy = SoftApe(FakeEngine(), MemoryCache())
    assert strategy.estimate(signals(), PROFILE, Budget()).excluded_by.limit == "unsupported"
    assert strategy.missing(corpus_from(BOOK)) is None
    with pytest.raises(ValueError, match="needs a model"):
        strategy.prepare(read(QUESTION, [], len), corpus_from(BOOK), Budget())


def test_it_is_taken_by_name_alone_and_made_ahead(tmp_path: Path) -> None:
    with Turnout(engine=AbleEngine(), home=tmp_path / "home") as t:
        assert "soft:ape" not in {candidate.strategy for candidate in t.plan(QUESTION, [Text(BOOK)])}
        ahead = t.soften([Text(BOOK)], strategy="soft:ape")
        assert ahead["made"] == ahead["segments"] > 1
        answer = t.ask(QUESTION, [Text(BOOK)], strategy="soft:ape")
        assert answer.decision.signals["kv_missing"] == 0 == answer.usage.scanned_tokens
        (cited,) = answer.citations
        assert cited.quote == BOOK[cited.start : cited.end] and "Marta Lindqvist" in cited.quote
        with pytest.raises(UnknownNameError, match="full"):
            t.soften([Text(BOOK)], strategy="full")
    with Turnout(engine=FakeEngine(), home=tmp_path / "home") as t, pytest.raises(ConfigurationError, match="soft:ape"):
        t.soften([Text(BOOK)], strategy="soft:ape")

"""soft: every document whole in soft tokens that are made once, and what an edit, a question or a limit changes."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_models
from support.able import AbleEngine
from support.library import BOOK, corpus_of
from support.redis_server import RedisServer
from support.routing import PROFILE, signals

from turnout import Budget, Text, Turnout
from turnout.compression.caches import Caches
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.soft import SoftTokens
from turnout.config import Settings
from turnout.engines.fake import FakeEngine
from turnout.engines.local import LocalEngine
from turnout.engines.soft.kind import SoftContext, SoftKind
from turnout.errors import Cancelled, ConfigurationError, StoreError
from turnout.progress import Watch
from turnout.retrieval.convert import convert_text
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.segment import segment
from turnout.router.questions import read
from turnout.router.strategies.soft import Soft
from turnout.types import CacheStatistics, GenerationParams

NOTHING = CacheStatistics(0, 0, 0, 0, 0)
QUESTION = "Who repaired the lighthouse lamp?"


def corpus_from(*texts: str) -> Corpus:
    documents = [convert_text(Text(text, f"{number}.txt")) for number, text in enumerate(texts)]
    return Corpus(documents, [each for document in documents for each in segment(document)])


class Trained(AbleEngine):
    """One whose soft tokens are read from the model."""

    def soft_kind(self) -> SoftKind:
        return replace(super().soft_kind(), name="compllm", fingerprint="soft/trained")


class Counting(AbleEngine):
    """Counts the calls and tells the segments by them."""

    def __init__(self) -> None:
        super().__init__(window=1 << 20)
        self.calls = 0

    def soften(self, pieces, watch=None):
        self.calls += 1
        return super().soften(pieces, watch)


def pages(number: int) -> str:
    """So many pages of text, of about 400 tokens each."""
    draw = random.Random(4)
    names = ["harbour", "clerk", "ship", "coal", "market", "roof", "crown", "lamp", "signal", "ferry", "island"]
    return "".join(
        f"In {draw.randrange(10**4)} the {draw.choice(names)} had {draw.randrange(10**5)} of {draw.choice(names)}. "
        for _ in range(33 * number)
    )


def test_a_second_question_makes_nothing_and_an_edit_only_what_is_around_it() -> None:
    text = pages(300)
    engine, cache = AbleEngine(window=1 << 20), MemoryCache(1 << 30)
    corpus = corpus_from(text)
    tokens = SoftTokens(engine, cache)
    before = tokens.of(corpus)
    assert len(before) == len(corpus.segments) > 400
    made = engine.softened
    assert tokens.of(corpus) == before
    assert engine.softened == made
    for place in (1000, len(text) // 2, len(text) - 1000):
        start = text.index(". ", place) + 2
        edited = corpus_from(f"{text[:start]}The keeper of the light was away then. {text[start:]}")
        assert sum(tokens.missing(edited.segments)) <= 3
        kept = cache.statistics().entries
        tokens.of(edited)
        assert 1 <= cache.statistics().entries - kept <= 3


def test_pieces_are_of_one_sentence_and_no_longer_than_may_be() -> None:
    engine = AbleEngine()
    text = "One two three four. " + "word " * 45 + "end. Ünïcode: 数字 and 🙂 too.\n\nA last line"
    pieces = SoftTokens(engine, MemoryCache())._pieces(text)
    names = list(engine._vocabulary)
    said = ["".join(names[token] for token in piece) for piece in pieces]
    assert "".join(said) == text
    assert max(map(len, pieces)) == 20
    assert said[0] == "One two three four."
    assert [len(piece) for piece in pieces[1:4]] == [20, 20, 7]
    assert SoftTokens(engine, MemoryCache())._pieces("") == []


def test_everything_is_read_with_its_spans_and_the_question_in_plain_tokens() -> None:
    engine = AbleEngine()
    corpus = corpus_from(BOOK, "A second one. It is short.")
    context = Soft(engine, MemoryCache()).prepare(read(QUESTION, [], len), corpus, Budget())
    assert isinstance(context, SoftContext)
    assert [part.text for part in context.parts] == [document.text for document in corpus.documents]
    assert [len(values) for values in context.soft] == [
        sum(each.span.document_id == document.id for each in corpus.segments) for document in corpus.documents
    ]
    assert context.question == QUESTION
    tokens = sum(engine.count_text(document.text) for document in corpus.documents)
    assert 0.5 * tokens <= context.soft_tokens < 0.56 * tokens


def test_who_gives_up_keeps_what_was_made() -> None:
    engine, cache = Counting(), MemoryCache()
    gave_up = threading.Event()
    strategy, corpus = Soft(engine, cache), corpus_from(pages(12))

    def told(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("compressing", len(corpus.segments))
        if done == 10:
            gave_up.set()

    with pytest.raises(Cancelled):
        strategy.prepare(read(QUESTION, [], len), corpus, Budget(), Watch(gave_up.is_set, told))
    assert 10 <= cache.statistics().entries < len(corpus.segments)


def test_an_engine_that_can_not_says_so() -> None:
    estimate = Soft(FakeEngine(), MemoryCache()).estimate(signals(), PROFILE, Budget())
    assert estimate.excluded_by.limit == "unsupported"
    assert Soft(FakeEngine(), MemoryCache()).missing(corpus_from(BOOK)) is None
    with pytest.raises(ValueError, match="needs a model"):
        Soft(FakeEngine(), MemoryCache()).prepare(read(QUESTION, [], len), corpus_from(BOOK), Budget())


def test_what_making_costs_is_not_learned_away_by_warm_answers() -> None:
    strategy, learned = Soft(Trained(), MemoryCache()), replace(PROFILE, outside_s={"soft": 0.2})
    cold, warm = (strategy.estimate(signals(soft_missing=missing), learned, Budget()) for missing in (4000, 0))
    assert cold.ttft_s - warm.ttft_s == pytest.approx(6000 * PROFILE.per_token_s)


def test_cold_costs_what_making_costs_and_warm_half_the_positions() -> None:
    strategy = Soft(Trained(), MemoryCache())
    cold, warm, half = (
        strategy.estimate(signals(soft_missing=missing), PROFILE, Budget()) for missing in (None, 0, 2000)
    )
    assert cold.scanned_tokens == 6000 and half.scanned_tokens == 3000 and warm.scanned_tokens == 0
    assert cold.ttft_s - warm.ttft_s == pytest.approx(6000 * PROFILE.per_token_s)
    assert warm.ttft_s < half.ttft_s < cold.ttft_s
    assert "soft tokens of 2,000 of 4,000 tokens are kept already" in half.reasons
    assert any("1.5 s, once" in reason for reason in half.reasons)
    assert 60 + 2000 <= warm.prompt_tokens == cold.prompt_tokens < 60 + 2200
    untrained = Soft(AbleEngine(), MemoryCache()).estimate(signals(), PROFILE, Budget())
    assert untrained.scanned_tokens == 0
    assert any("nothing is trained" in reason for reason in untrained.reasons)


def test_what_is_missing_is_a_share_and_not_looked_up_where_it_can_not_matter() -> None:
    cache = MemoryCache()
    strategy, corpus = Soft(AbleEngine(), cache), corpus_from(BOOK, pages(4))
    assert strategy.missing(corpus) == 1.0
    SoftTokens(AbleEngine(), cache).of(corpus_from(BOOK))
    assert 0 < strategy.missing(corpus) < 1
    assert Soft(Trained(), cache).missing(corpus) == 1.0
    assert Soft(AbleEngine(window=512), cache).missing(corpus) is None
    assert cache.statistics().hits == 0


def test_an_answer_tells_its_soft_tokens_and_cites_the_source(tmp_path: Path) -> None:
    with Turnout(engine=AbleEngine(), home=tmp_path / "home") as t:
        answer = t.ask(QUESTION, [Text(BOOK)], strategy="soft")
        again = t.ask(QUESTION, [Text(BOOK)], strategy="soft")
    assert answer.usage.prompt_tokens > answer.usage.soft_tokens > 0
    (cited,) = answer.citations
    assert cited.quote == BOOK[cited.start : cited.end] and "Marta Lindqvist" in cited.quote
    assert any("soft tokens" in note for note in answer.notes)
    assert answer.decision.signals["soft_missing"] > 0 == again.decision.signals["soft_missing"]
    assert again.decision["soft"].prompt_tokens == pytest.approx(again.usage.prompt_tokens, rel=0.1)


def test_it_is_never_taken_unasked(tmp_path: Path) -> None:
    with Turnout(engine=AbleEngine(), home=tmp_path / "home") as t:
        assert t.plan(QUESTION, [Text(BOOK)])["soft"].excluded_by.limit == "tier"


def test_a_model_answers_over_soft_tokens_and_documents_are_softened_ahead(tmp_path: Path) -> None:
    engine = LocalEngine(
        tiny_models.build(tmp_path / "tiny", max_position_embeddings=4096), device="cpu", dtype="float32"
    )
    text = BOOK[:1500]
    with Turnout(engine=engine, home=tmp_path / "home") as t:
        ahead = t.soften([Text(text), Text(text, "twice")])
        assert ahead["made"] == ahead["segments"] > 1
        assert t.soften([Text(text)])["made"] == 0
        strategy = Soft(engine, Caches(Settings.load(home=tmp_path / "home")).segments)
        assert strategy.missing(corpus_from(text)) == 0
        context = strategy.prepare(read(QUESTION, [], len), corpus_from(text), Budget())
        assert context.soft_tokens > 100
        (*_, finished) = engine.generate(context, GenerationParams(max_tokens=4))
        assert finished.prompt_tokens == engine.count(context) > context.soft_tokens
        t.remove(t.add(Text(text)).documents[0])
        assert t.soften([Text(text)])["made"] == ahead["made"]
    with Turnout(engine=FakeEngine(), home=tmp_path / "home") as t, pytest.raises(ConfigurationError, match="fake"):
        t.soften([Text(text)])


@pytest.mark.parametrize("place", ["home", "server"])
def test_removing_a_document_removes_what_it_alone_had(place: str, tmp_path: Path) -> None:
    server = RedisServer(tmp_path) if place == "server" else None
    shared, first, second = pages(4), "The keeper was away. " * 60, "The ferry came at noon. " * 60
    options = {"cache_url": server.url} if server else {}
    try:
        with Turnout(engine=AbleEngine(window=1 << 16), home=tmp_path / "home", **options) as t:
            gone, kept = (t.add(Text(shared + own, f"{own[4:8]}.txt")).documents[0] for own in (first, second))
            for strategy in ("soft", "soft:ape"):
                assert t.soften([gone, kept], strategy=strategy)["made"] > t.soften([kept])["segments"]
            cache = t._opened().caches.segments
            t.ask(QUESTION, [kept], strategy="extract:exit")
            t.remove(gone)
            for strategy in ("soft", "soft:ape"):
                assert t.soften([kept], strategy=strategy)["made"] == 0
            assert cache.statistics().entries == 2 * t.soften([kept])["segments"]
            assert t._opened().scores.kinds().get("scores", NOTHING).entries == 0
            if server:
                server.kill()
                with pytest.raises(StoreError, match="are removed, but not"):
                    t.remove(kept)
            else:
                t.remove(kept)
                assert cache.statistics().entries == 0
            assert t.documents() == []
    finally:
        if server:
            server.kill()


def test_removing_a_document_removes_what_its_earlier_versions_had(tmp_path: Path) -> None:
    with Turnout(engine=AbleEngine(window=1 << 16), home=tmp_path / "home") as t:
        for text in (pages(3), pages(2) + BOOK):
            (document,) = t.add(Text(text, "one.txt", "one.txt")).documents
            t.soften([document])
        assert len(t.documents()) == 1
        t.remove(document)
        assert t._opened().caches.segments.statistics().entries == 0


def test_corpora_of_a_library_have_the_same_segments(tmp_path: Path) -> None:
    kept, made = corpus_of(tmp_path, BOOK), corpus_from(BOOK)
    assert [each.hash for each in kept.segments] == [each.hash for each in made.segments]

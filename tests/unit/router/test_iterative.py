"""rag:iterative: follow-ups find what one search misses, end by themselves, and are paid for inside every limit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.library import corpus_of
from support.routing import PROFILE, signals

from turnout import Budget, Decoding, Done, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import FOLLOW_UP_TASK, FORMATS, asks_for_facts, has_numbers, pieces
from turnout.errors import Cancelled, EngineTimeoutError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router.prices import Pricing
from turnout.router.questions import read
from turnout.router.strategies import iterative
from turnout.router.strategies.iterative import FOLLOW_UP_TOKENS, RagIterative, follow_up
from turnout.router.strategies.rag import PASSAGE_TOKENS, Rag
from turnout.types import Context

FILLER = "The harbour office keeps a record of every ship and its clerk writes the names in blue ink. "
FIRST = "The lamp of the lighthouse was repaired by Marta Lindqvist after the storm. "
SECOND = "Lindqvist came from Osterholm, a place of clockmakers. "
BOOK = FILLER * 90 + FIRST + FILLER * 90 + SECOND + FILLER * 90
QUESTION = "In which town was the one born who repaired the lighthouse lamp?"


class Reader(FakeEngine):
    """Asks the follow-ups that it is given, one after the other, and answers with the town once it has read of it."""

    def __init__(self, *follow_ups: str, **options: object) -> None:
        self.asked: list[Context] = []
        super().__init__(self._say, **options)  # type: ignore[arg-type]
        self._follow_ups = follow_ups

    def _say(self, context: Context) -> str:
        if context.task == FOLLOW_UP_TASK:
            self.asked.append(context)
            return self._follow_ups[min(len(self.asked), len(self._follow_ups)) - 1]
        return "Osterholm" if any(SECOND.strip() in part.text for part in context.parts) else "Not in the text."


def ask(engine: FakeEngine, strategy: str = "rag:iterative", **budget: float) -> object:
    with Turnout(engine=engine) as t:
        return t.ask(QUESTION, Text(BOOK, "book.txt"), strategy=strategy, budget=Budget(**budget))


def strategy(engine: FakeEngine, follow_ups: int = 3) -> RagIterative:
    return RagIterative(engine, HybridRetriever(None), follow_ups)


def prepared(engine: FakeEngine, corpus: Corpus, budget: Budget | None = None, follow_ups: int = 3) -> Context:
    return strategy(engine, follow_ups).prepare(read(QUESTION, [], len), corpus, budget or Budget())


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return corpus_of(tmp_path, BOOK)


def test_a_follow_up_finds_the_second_hop_and_is_paid_for() -> None:
    engine = Reader("Where did Marta Lindqvist come from?", "Enough.")
    answer = ask(engine)
    assert answer.text == "Osterholm"
    assert [SECOND.strip() in " ".join(p.text for p in asked.parts) for asked in engine.asked] == [False, True]
    contexts = [*engine.asked, engine.contexts[-1]]
    usage = answer.usage
    assert usage.prompt_tokens == sum(map(engine.count, contexts))
    assert [attempt["follow_up"] for attempt in usage.attempts] == [1, 2]
    assert usage.prompt_tokens > sum(attempt["prompt_tokens"] for attempt in usage.attempts) > 0
    assert usage.completion_tokens > sum(attempt["completion_tokens"] for attempt in usage.attempts) > 0
    assert ask(Reader("Enough."), "rag").usage.attempts == ()


def test_parts_stay_verbatim_in_order_and_in_the_room_of_rag(corpus: Corpus) -> None:
    engine = Reader("Where did Lindqvist come from?", "Who wrote names in blue ink?", "Who are the clockmakers?")
    context = prepared(engine, corpus)
    assert len(engine.asked) == 3
    text = corpus.documents[0].text
    assert all(part.text == text[part.span.start : part.span.end] for part in context.parts)
    starts = [part.span.start for part in context.parts]
    assert starts == sorted(starts)
    assert sum(engine.count_text(part.text) for part in context.parts) <= PASSAGE_TOKENS
    read_ = " ".join(part.text for part in context.parts)
    assert FIRST.strip() in read_
    assert SECOND.strip() in read_


@pytest.mark.parametrize(
    ("follow_ups", "calls"),
    [
        (["Enough."], 1),
        (["  \n"], 1),
        (["Not in the text."], 1),
        ([QUESTION.upper()], 1),
        (["Where did Lindqvist come from?", "where did lindqvist COME FROM"], 2),
        (["What of zzyzx?"], 1),
        (["Where did Lindqvist come from?", "Who keeps ships?", "Who are clockmakers?", "Where was the storm?"], 3),
    ],
)
def test_it_ends_by_itself(follow_ups: list[str], calls: int, corpus: Corpus) -> None:
    engine = Reader(*follow_ups)
    context = prepared(engine, corpus)
    assert len(engine.asked) == calls
    assert context.parts


def test_without_follow_ups_or_with_everything_read_it_is_rag(tmp_path: Path, corpus: Corpus) -> None:
    engine = Reader("Where did Lindqvist come from?")
    rag = Rag(engine, HybridRetriever(None)).prepare(read(QUESTION, [], len), corpus, Budget())
    assert prepared(engine, corpus, follow_ups=0) == rag
    prepared(engine, corpus_of(tmp_path / "small", FIRST + SECOND))
    assert prepared(engine, Corpus([], [])).parts == ()
    assert engine.asked == []


def test_all_prompts_together_keep_the_limit(corpus: Corpus) -> None:
    for limit in (400, 1200, 2100, 2300, 3400, 9000):
        engine = Reader("Where did Lindqvist come from?", "Who keeps ships?", "Who are clockmakers?")
        context = prepared(engine, corpus, Budget(max_prompt_tokens=limit))
        assert sum(map(engine.count, [*engine.asked, context])) <= limit
        estimate = strategy(engine).estimate(signals(document_tokens=9000), PROFILE, Budget(max_prompt_tokens=limit))
        assert estimate.prompt_tokens <= max(limit, 400)
    assert len(engine.asked) == 3


def test_the_estimate_counts_every_call_but_only_one_prompt_is_in_the_window() -> None:
    engine = FakeEngine()
    known = signals(document_tokens=9000, window=1400)
    rag = Rag(engine, HybridRetriever(None)).estimate(known, PROFILE, Budget())
    found = strategy(engine).estimate(known, PROFILE, Budget())
    assert found.excluded_by is None
    assert found.prompt_tokens == 4 * rag.prompt_tokens
    assert found.memory_bytes == rag.memory_bytes
    assert found.ttft_s > rag.ttft_s + 3 * PROFILE.prefill_seconds(rag.prompt_tokens)
    priced = replace(known, pricing=Pricing("fake", "p.toml", "EUR", 1.0, 0.5, 10.0))
    cheap, dear = (
        each.estimate(priced, PROFILE, Budget()) for each in (Rag(engine, HybridRetriever(None)), strategy(engine))
    )
    extra = (3 * rag.prompt_tokens * 1.0 + 3 * FOLLOW_UP_TOKENS * 10.0) / 1e6
    assert dear.cost_high - cheap.cost_high == pytest.approx(extra)


def test_time_over_ends_it_and_giving_up_too() -> None:
    slow = Reader("Where did Lindqvist come from?", "Who keeps ships?", "Who are clockmakers?", token_s=0.2)
    with Turnout(engine=slow) as t:
        # Estimated in no time by an engine that nobody measured: the limit is met by the clock alone.
        with pytest.raises(EngineTimeoutError, match="was over before there was an answer"):
            list(t.stream(QUESTION, Text(BOOK), strategy="rag:iterative", decoding=Decoding(timeout_s=0.5)))
        events = []
        with pytest.raises(Cancelled):
            for event in t.stream(QUESTION, Text(BOOK), strategy="rag:iterative", stopped=lambda: bool(slow.asked)):
                events.append(event)
        assert not any(isinstance(event, Done) for event in events)


def test_no_follow_up_is_begun_late(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(iterative, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    engine = Reader("Where did Lindqvist come from?", "Who keeps ships?", "Who are clockmakers?")
    prepared(engine, corpus, Budget(max_total_s=10.0))
    assert len(engine.asked) == 1


def test_each_call_is_told_and_reads_in_the_callers_namespace(corpus: Corpus) -> None:
    engine = Reader("Where did Lindqvist come from?", "Enough.")
    told: list[tuple[str, int, int]] = []
    watch = Watch(progress=lambda *step: told.append(step), namespace="mine")
    assert strategy(engine).prepare(read(QUESTION, [], len), corpus, Budget(), watch).parts
    assert [ended.prompt_tokens for _, ended in watch.asked] == list(map(engine.count, engine.asked))
    assert len(watch.asked) == 2
    assert watch.read_tokens == 0, "prompts are no scans"
    assert {stage for stage, _, _ in told} == {"prefill"}
    assert {params.cache_namespace for params in engine.params} == {"mine"}


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ("Enough", ""),
        ("enough information is given", ""),
        ("No.", ""),
        ("None needed", ""),
        ("...", ""),
        ("\n\nFollow-up: Where did she live?\nand more", "Where did she live?"),
        ("Question: 鍵はどこ？", "鍵はどこ？"),
        ("Nobel prize winners of 1903?", "Nobel prize winners of 1903?"),
        ("Nothingness in Sartre", "Nothingness in Sartre"),
        ("Yes", ""),
    ],
)
def test_what_counts_as_a_question(written: str, query: str) -> None:
    assert follow_up(written) == query


def test_the_wording_asks_for_it() -> None:
    context = Context((), "q", (), FOLLOW_UP_TASK)
    for wording in FORMATS.values():
        assert "reply only: Enough" in pieces(context, wording)[-1].text
        assert not asks_for_facts(context, wording)
        assert not has_numbers(context, wording)

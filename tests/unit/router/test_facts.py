"""rag:facts: an answer is written from the sentences that the stated facts stand in, never from what was made up."""

from pathlib import Path

import pytest
from support.library import corpus_of
from support.routing import PROFILE, signals

from turnout import Budget, Text, Turnout
from turnout.documents import Span
from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import FACTS_TASK, FOLLOW_UP_TASK, FORMATS, asks_for_facts, pieces
from turnout.errors import Cancelled
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router.questions import read
from turnout.router.strategies.facts import FACT_TOKENS, NO_FACT, RagFacts, placed, sentences, stated
from turnout.router.strategies.iterative import FOLLOW_UP_TOKENS, RagIterative
from turnout.types import Context, Part

FILLER = "The harbour office keeps a record of every ship and its clerk writes the names in blue ink. "
FIRST = "The lamp of the lighthouse was repaired by Marta Lindqvist after the storm. "
SECOND = "Lindqvist came from Osterholm, a place of clockmakers. "
BOOK = FILLER * 30 + FIRST + FILLER * 30 + SECOND + FILLER * 30
QUESTION = "In which town was Lindqvist born who repaired the lighthouse lamp?"


class Reader(FakeEngine):
    """States what it is given as facts, asks no follow-ups, and answers with the town where it reads of it."""

    def __init__(self, facts: str, follow_up: str = "Enough.", **options: object) -> None:
        super().__init__(self._say, **options)  # type: ignore[arg-type]
        self._written = {FACTS_TASK: facts, FOLLOW_UP_TASK: follow_up}

    def _say(self, context: Context) -> str:
        held = any(SECOND.strip() in part.text for part in context.parts)
        return self._written.get(context.task) or ("Osterholm" if held else "Not in the text.")

    def tasks(self) -> list[str]:
        return [context.task for context in self.contexts]


def prepared(engine: FakeEngine, corpus: Corpus, budget: Budget | None = None, watch: Watch | None = None) -> Context:
    return RagFacts(engine, HybridRetriever(None)).prepare(read(QUESTION, [], len), corpus, budget or Budget(), watch)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return corpus_of(tmp_path, BOOK)


def test_the_answer_is_written_from_the_facts_alone_and_every_call_is_paid_for() -> None:
    engine = Reader(
        f'1. "{FIRST.strip()}"\n2. Lindqvist came from Osterholm, a place of\nThe lamp was blown up by spies.'
    )
    with Turnout(engine=engine) as t:
        answer = t.ask(QUESTION, Text(BOOK, "book.txt"), strategy="rag:facts")
    assert answer.text == "Osterholm"
    last = engine.contexts[-1]
    assert [part.text for part in last.parts] == [FIRST.strip(), SECOND.strip()]
    assert all(part.text == BOOK[part.span.start : part.span.end] for part in last.parts)
    assert "read from 2 of 3 stated facts, 2 of them word for word" in answer.notes
    assert [attempt.get("facts") for attempt in answer.usage.attempts] == [None, 1]
    assert answer.usage.prompt_tokens == sum(map(engine.count, engine.contexts))
    assert engine.count(last) < engine.count(engine.contexts[-2]) / 4
    assert BOOK[answer.citations[0].start : answer.citations[0].end] == answer.citations[0].quote


@pytest.mark.parametrize("facts", ["Not in the text.", " \n", "Spies blew everything up.", '-\n*\n""'])
def test_without_a_fact_the_passages_are_read(facts: str, corpus: Corpus) -> None:
    engine, watch = Reader(facts), Watch()
    context = prepared(engine, corpus, watch=watch)
    assert context == RagIterative(engine, HybridRetriever(None)).prepare(read(QUESTION, [], len), corpus, Budget())
    assert watch.notes == [NO_FACT]


def test_all_prompts_together_keep_the_limit_and_the_facts_go_before_the_follow_ups(corpus: Corpus) -> None:
    tasks = []
    for limit in (400, 1200, 2300, 3400, 9000):
        engine = Reader("Spies blew everything up.", "Who writes the names?")
        context = prepared(engine, corpus, Budget(max_prompt_tokens=limit))
        assert sum(map(engine.count, [*engine.contexts, context])) <= limit
        tasks.append(engine.tasks())
    assert tasks[0] == [] and tasks[2] == [FACTS_TASK] and tasks[-1].count(FACTS_TASK) == 1
    assert FOLLOW_UP_TASK in tasks[-1]


def test_the_estimate_counts_the_call() -> None:
    engine, known = FakeEngine(), signals(document_tokens=9000)
    facts, iterative = (
        each(engine, HybridRetriever(None)).estimate(known, PROFILE, Budget()) for each in (RagFacts, RagIterative)
    )
    assert facts.prompt_tokens * 4 == iterative.prompt_tokens * 5
    assert facts.ttft_s > iterative.ttft_s
    short = RagFacts(engine, HybridRetriever(None)).estimate(signals(document_tokens=300), PROFILE, Budget())
    whole = RagIterative(engine, HybridRetriever(None)).estimate(signals(document_tokens=300), PROFILE, Budget())
    assert short.prompt_tokens == 2 * whole.prompt_tokens, "what is read whole is stated from too"
    assert RagFacts(engine, HybridRetriever(None))._calls(False) == [FACT_TOKENS, *[FOLLOW_UP_TOKENS] * 3]


def test_summaries_and_no_documents_state_no_facts(corpus: Corpus) -> None:
    engine = Reader(FIRST)
    strategy = RagFacts(engine, HybridRetriever(None))
    strategy.prepare(read("Summarise the record of the harbour office.", [], len), corpus, Budget())
    assert strategy.prepare(read(QUESTION, [], len), Corpus([], []), Budget()).parts == ()
    assert FACTS_TASK not in engine.tasks()


def test_giving_up_while_facts_are_written(corpus: Corpus) -> None:
    engine = Reader(FIRST * 9)
    with pytest.raises(Cancelled):
        prepared(engine, corpus, watch=Watch(lambda: FACTS_TASK in engine.tasks()))


@pytest.mark.parametrize(
    ("written", "facts"),
    [
        ("- The key is here.\n- The key is here.", ["The key is here."]),
        ("* “The key is here.”", ["The key is here."]),
        ("(1) The key is here. It was hidden.", ["The key is here.", "It was hidden."]),
        ("12 keys were found.", ["12 keys were found."]),
        ("1984 was a year of keys.", ["1984 was a year of keys."]),
        ("鍵は三段目の下にある。\n\nمفتاح تحت الدرجة.", ["鍵は三段目の下にある。", "مفتاح تحت الدرجة."]),
        ("Not in the text.", []),
        ("", []),
        ('""\n- \n1.', ["1."]),
    ],
)
def test_what_counts_as_a_fact(written: str, facts: list[str]) -> None:
    assert stated(written) == facts


def test_a_fact_stands_for_whole_sentences_in_their_order() -> None:
    text = "One lamp burns. Two lamps burn brightly at night. Three ships sail. One lamp burns."
    parts = [Part(text, Span("d", 100, 100 + len(text)), "t"), Part("The lamp is oiled daily.", Span("e", 0, 24), "u")]
    facts = [placed(each, parts) for each in ("lamp is oiled daily", "lamps burn brightly", "Three ships sail.")]
    assert all(fact is not None and fact.exact for fact in facts)
    found = list(sentences([fact for fact in facts if fact], parts))
    assert [part.text for part in found] == [
        "Two lamps burn brightly at night. Three ships sail.",
        "The lamp is oiled daily.",
    ]
    assert [(part.span.document_id, part.span.start) for part in found] == [("d", 116), ("e", 0)]
    loose = placed("At night the two lamps are burning brightly", parts)
    assert loose is not None and not loose.exact and loose.part == 0
    assert placed("Nobody swims in winter seas", parts) is None


def test_the_wording_asks_for_sentences_and_no_adapter_reads_it() -> None:
    context = Context((), "q", (), FACTS_TASK)
    for wording in FORMATS.values():
        assert "word for word" in pieces(context, wording)[-1].text
        assert not asks_for_facts(context, wording)

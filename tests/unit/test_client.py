"""The SDK on the fake engine: the whole path without a model."""

import asyncio
import threading
import time
from pathlib import Path

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK
from support.numbered import NumberedFake

from turnout import (
    Budget,
    BudgetError,
    Cut,
    Decided,
    DocumentError,
    Done,
    Message,
    Reading,
    Retracted,
    Text,
    TextDelta,
    Turnout,
)
from turnout.engines.fake import FakeEngine
from turnout.errors import (
    Cancelled,
    ConfigurationError,
    EngineTimeoutError,
    ModelError,
    NoDocumentsError,
    StoreError,
    UnknownNameError,
)

QUESTION = "Who repaired the lighthouse lamp?"


@pytest.fixture
def t(home: Path):
    with Turnout(engine=FakeEngine(), log="full") as turnout:
        yield turnout


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK, encoding="utf-8")
    return path


def scripted(*answers: str) -> Turnout:
    return Turnout(engine=FakeEngine(answers=answers))


def test_ask_answers_with_a_citation_and_a_decision(t: Turnout, book: Path) -> None:
    answer = t.ask(QUESTION, [book])
    assert "Marta Lindqvist" in answer.text
    assert not answer.abstained
    assert answer.decision.chosen in ("full", "rag")
    assert answer.decision[answer.decision.chosen].chosen
    citation = answer.citations[0]
    assert citation.document.title == "book.md"
    assert BOOK[citation.start : citation.end] == citation.quote
    assert citation.place == "book.md l.3"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.ttft_s <= answer.usage.total_s
    assert answer.budget.met


def test_a_numbered_sentence_is_cited_word_for_word_and_never_shown(book: Path) -> None:
    engine = NumberedFake(answers=["Evidence: [3]\nMarta Lindqvist"])
    with Turnout(engine=engine) as t:
        events = list(t.stream(QUESTION, [book]))
    answer = events[-1].answer
    (citation,) = answer.citations
    assert f"[3] {citation.quote}" in engine.prompt(engine.contexts[0])
    assert (citation.origin, citation.found) == ("quoted", "exact")
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == answer.text == "Marta Lindqvist"


def test_a_number_from_a_model_that_saw_none_is_flagged(book: Path) -> None:
    with scripted("Marta Lindqvist\nEvidence: [3]") as t:
        assert t.ask(QUESTION, [book]).citations[0].found is None


@pytest.mark.parametrize(("number", "abstained"), [(1, False), (2, True), (9, True)])
def test_what_the_named_sentence_says_refuses_nothing(tmp_path: Path, number: int, abstained: bool) -> None:
    path = tmp_path / "codes.md"
    path.write_text("Exit code 3 says that the answer is not in the text. Exit code 1 is an error.", encoding="utf-8")
    with Turnout(engine=NumberedFake(answers=[f"Evidence: [{number}]\nnot in the text"])) as t:
        assert t.ask("What does exit code 3 say?", [path]).abstained is abstained


def test_quotes_by_the_model_are_located_and_a_made_up_one_is_flagged(book: Path) -> None:
    said = (
        'Marta Lindqvist.\nQuote: "Marta Lindqvist repaired the lighthouse lamp"\nQuote: "she was paid in silver coins"'
    )
    with scripted(said) as t:
        answer = t.ask(QUESTION, [book])
    assert answer.text == "Marta Lindqvist."
    assert [c.found for c in answer.citations] == ["exact", None]
    assert [c.origin for c in answer.citations] == ["quoted", "quoted"]


@pytest.mark.parametrize("said", ["Not in the text.", "The text does not mention a guarantor.", "Napoleon Bonaparte"])
def test_an_answer_that_is_not_in_the_text_is_an_abstention_with_the_nearest_passage(said: str, book: Path) -> None:
    with scripted(said) as t:
        answer = t.ask(QUESTION, [book])
    assert answer.abstained
    assert answer.text == "Not in the text."
    assert answer.citations == ()
    assert "lighthouse" in answer.nearest.quote


def test_stream_events_come_in_order_and_add_up_to_the_answer(t: Turnout, book: Path) -> None:
    events = list(t.stream(QUESTION, [book]))
    kinds = [type(event) for event in events]
    assert kinds[0] is Decided
    assert kinds[-1] is Done
    assert set(kinds) <= {Decided, Reading, TextDelta, Done}
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == events[-1].answer.text


def test_text_that_was_shown_and_does_not_hold_is_retracted(book: Path) -> None:
    with scripted("Napoleon Bonaparte did.") as t:
        events = list(t.stream(QUESTION, [book]))
    kinds = [type(event) for event in events]
    assert kinds.index(Retracted) > kinds.index(TextDelta)
    assert events[-1].answer.abstained


async def test_sync_and_async_give_the_same(t: Turnout, book: Path) -> None:
    sync = t.ask(QUESTION, [book])
    asynchronous = await t.aask(QUESTION, [book])
    assert asynchronous.text == sync.text
    assert asynchronous.citations == sync.citations
    assert asynchronous.usage.prompt_tokens == sync.usage.prompt_tokens
    assert (await t.aplan(QUESTION, [book])).chosen == t.plan(QUESTION, [book]).chosen
    sync_kinds = [type(e) for e in t.stream(QUESTION, [book])]
    assert [type(e) async for e in t.astream(QUESTION, [book])] == sync_kinds
    with pytest.raises(DocumentError):
        await t.aask(QUESTION, ["missing.txt"])
    added = await t.aadd(book)
    assert [d.id for d in added.documents] == [d.id for d in t.add(book).documents]


async def test_cancelling_a_task_stops_the_engine(book: Path) -> None:
    engine = FakeEngine(answers=["word " * 400], token_s=0.01)
    with Turnout(engine=engine) as t:
        t.ask("warm up", [Text("warm up words")])
        task = asyncio.create_task(t.aask(QUESTION, [book]))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The engine is free again at once: a waiting question is not held up by the one that was given up.
        answer = await asyncio.wait_for(t.aask("And now?", [Text("something else entirely")]), timeout=6)
        assert answer.id


def test_a_stopped_question_gives_up(book: Path) -> None:
    with Turnout(engine=FakeEngine(answers=["word " * 400], token_s=0.01)) as t:
        stop = threading.Event()
        events = []
        with pytest.raises(Cancelled):
            for event in t.stream(QUESTION, [book], stopped=stop.is_set):
                events.append(event)
                if isinstance(event, TextDelta):
                    stop.set()
        assert not any(isinstance(event, Done) for event in events)


def test_two_turns(home: Path, book: Path) -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t:
        history = [
            Message("user", "What does the ferry to Osterholm cost?"),
            {"role": "assistant", "content": "Four crowns."},
        ]
        answer = t.ask("And on which days does it cost that?", [book], history=history, strategy="rag")
    read = engine.contexts[-1]
    assert any("Osterholm" in part.text for part in read.parts), "retrieval searched for the standalone question"
    assert [turn.text for turn in read.history] == ["What does the ferry to Osterholm cost?", "Four crowns."]
    assert read.question == "And on which days does it cost that?"
    assert answer.question == "And on which days does it cost that?"


def test_a_turn_that_is_neither_user_nor_assistant_is_refused(t: Turnout, book: Path) -> None:
    with pytest.raises(ConfigurationError, match="system"):
        t.ask(QUESTION, [book], history=[{"role": "system", "content": "obey"}])


def test_plan_generates_nothing(home: Path, book: Path) -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t:
        decision = t.plan(QUESTION, [book])
    assert {c.strategy for c in decision.candidates} == {"full", "rag", "extract", "soft", "rapid"}
    assert engine.contexts == []


def test_steps_that_the_chosen_strategy_does_not_need_are_not_run(home: Path, book: Path) -> None:
    class Untouchable:
        fingerprint, dimension = "none", 4

        def embed(self, texts, progress=None):
            raise AssertionError("full must not embed")

    with Turnout(engine=FakeEngine(), embedder=Untouchable()) as t:
        assert t.ask(QUESTION, [book], strategy="full").decision.chosen == "full"
        with pytest.raises(AssertionError, match="must not embed"):
            t.ask(QUESTION, [book], strategy="rag")


def test_documents_of_every_kind(t: Turnout, book: Path) -> None:
    from langchain_core.documents import Document as LangChainDocument

    foreign = LangChainDocument("The lamp was repaired by Ole Berg in spring.", metadata={"source": "berg.txt"})
    for given in (book, str(book), Text(BOOK), BOOK.encode(), foreign, t.add(book).documents[0]):
        answer = t.ask(QUESTION, [given])
        assert "repaired" in answer.text
    assert t.ask(QUESTION, str(book)).text


def test_no_documents_is_an_error_not_the_library(t: Turnout, book: Path) -> None:
    t.add(book)
    with pytest.raises(NoDocumentsError):
        t.ask(QUESTION, [])


def test_a_document_that_cannot_be_read_stops_an_ask_and_not_an_add(t: Turnout, book: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(DocumentError, match=r"empty\.txt"):
        t.ask(QUESTION, [book, tmp_path / "empty.txt"])
    added = t.add(book, tmp_path / "empty.txt", tmp_path / "missing.txt")
    assert [d.title for d in added.documents] == ["book.md"]
    assert {Path(f.path).name for f in added.failed} == {"empty.txt", "missing.txt"}
    assert all(f.reason and f.hint for f in added.failed)


def test_an_impossible_budget_is_refused_before_anything_runs(home: Path, book: Path) -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t, pytest.raises(BudgetError) as caught:
        t.ask(QUESTION, [book], budget=Budget(max_prompt_tokens=5))
    assert "nearest possible" in caught.value.hint
    assert engine.contexts == []


def test_an_unknown_strategy_names_the_nearest(t: Turnout, book: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'full'"):
        t.ask(QUESTION, [book], strategy="fulll")


def test_ask_many_is_lazy_and_shares_one_total(home: Path, book: Path) -> None:
    engine = FakeEngine()
    with Turnout(engine=engine) as t:
        answers = t.ask_many(["Who repaired the lamp?", "What does the ferry cost?"], [book])
        assert engine.contexts == []
        assert "Marta" in next(answers).text
        assert len(engine.contexts) == 1
        assert "four crowns" in next(answers).text
        with pytest.raises(BudgetError):
            list(t.ask_many(["Who?"], [book], budget=Budget(max_total_s=1e-9)))


def test_the_ledger_keeps_what_the_level_says(home: Path, book: Path) -> None:
    for level, rows, content in (("off", 0, False), ("decisions", 1, False), ("full", 2, True)):
        with Turnout(engine=FakeEngine(), log=level) as t:
            answer = t.ask(QUESTION, [book])
            entries = t.log()
            assert len(entries) == rows
            if rows:
                entry = t.explain(answer.id[:6])
                assert entry.question == QUESTION
                assert (entry.content is not None) is content
                assert "Marta" not in str(entry.record)
                chosen = next(c for c in entry.record["decision"]["candidates"] if c["chosen"])
                assert chosen["ttft_s"] is not None
                assert entry.record["usage"]["total_s"] > 0


def test_removing_a_document_removes_its_text_from_the_ledger(t: Turnout, book: Path) -> None:
    answer = t.ask(QUESTION, [t.add(book).documents[0]])
    assert t.explain(answer.id).content["text"]
    removed = t.remove("book.md")
    assert [d.title for d in removed] == ["book.md"]
    entry = t.explain(answer.id)
    assert entry.content is None
    assert entry.question is None
    assert t.documents() == []


def test_sixteen_threads_at_once(home: Path, book: Path) -> None:
    answers = []
    with Turnout(engine=FakeEngine()) as t:

        def ask() -> None:
            answers.append(t.ask(QUESTION, [book]).text)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 16
    assert len(set(answers)) == 1


# --- sources, names and versions -------------------------------------------------------------------------------------


class Page:
    """One page of a file, as LangChain's loaders give it."""

    def __init__(self, text: str) -> None:
        self.page_content = text
        self.metadata = {"source": "paper.pdf"}


def test_pages_that_share_a_source_are_documents_of_their_own(t: Turnout) -> None:
    added = t.add(
        Page("The lamp was lit in 1893."), Page("The keeper was Marta."), Page("The ferry costs four crowns.")
    )
    assert set(added.status.values()) == {"added"}
    assert len(t.documents()) == 3
    assert "four crowns" in t.ask("What does the ferry cost?", added.documents).text


def test_a_file_that_is_gone_is_an_error_not_its_old_copy(
    t: Turnout, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert t.ask(QUESTION, [str(book)]).text
    book.unlink()
    with pytest.raises(DocumentError, match=r"book\.md"):
        t.ask(QUESTION, [str(book)])
    monkeypatch.chdir(book.parent)
    with pytest.raises(DocumentError, match=r"book\.md"):
        t.ask(QUESTION, ["book.md"])


def test_a_document_of_the_library_can_be_named_by_its_title(t: Turnout) -> None:
    t.add(Text(BOOK, "harbour", "mail:1"))
    assert "Marta" in t.ask(QUESTION, "harbour").text


def test_equal_content_at_two_paths_is_cited_where_it_was_asked(t: Turnout, tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(BOOK, encoding="utf-8")
        answer = t.ask(QUESTION, [tmp_path / name])
        assert answer.citations[0].document.title == name
        assert answer.citations[0].place.startswith(name)


def test_removing_a_file_erases_what_earlier_versions_of_it_left(t: Turnout, book: Path, home: Path) -> None:
    t.add(book)
    first = t.ask(QUESTION, [book])
    book.write_text(BOOK.replace("Marta Lindqvist", "Ole Berg"), encoding="utf-8")
    assert list(t.add(book).status.values()) == ["updated"]
    t.remove("book.md")
    entry = t.explain(first.id)
    assert (entry.content, entry.question) == (None, None)
    assert "Marta" not in str(entry.record)
    t.close()
    assert b"Marta Lindqvist" not in b"".join(path.read_bytes() for path in home.glob("turnout.db*"))


@pytest.mark.parametrize("given", [Text(BOOK), BOOK.encode()])
def test_one_document_need_not_be_in_a_list(t: Turnout, given: object) -> None:
    assert "Marta" in t.ask(QUESTION, given).text


def test_a_text_given_as_a_path_is_an_error_with_a_hint(t: Turnout) -> None:
    with pytest.raises(DocumentError) as caught:
        t.ask(QUESTION, [BOOK * 3])
    assert caught.value.hint


# --- budgets, turns and failures -------------------------------------------------------------------------------------


def test_rag_makes_itself_smaller_for_a_prompt_limit(home: Path) -> None:
    long = " ".join(f"Entry {i}: ship number {i} carried coal and left on day {i}." for i in range(900))
    with Turnout(engine=FakeEngine()) as t:
        answer = t.ask("Which ship carried coal on day 70?", Text(long), budget=Budget(max_prompt_tokens=700))
    assert answer.decision.chosen == "rag"
    assert 0 < answer.usage.prompt_tokens <= 700
    assert answer.budget.met


def test_nothing_to_read_is_an_abstention_and_the_model_is_not_asked(home: Path) -> None:
    engine = FakeEngine(answers=["Yes."])
    with Turnout(engine=engine) as t:
        answer = t.ask("Quarterly dividends?", Text("zebra crossing"), strategy="rag")
    assert answer.abstained
    assert engine.contexts == []


def test_an_answer_cut_at_the_token_limit_says_so(home: Path) -> None:
    with scripted("Marta Lindqvist repaired it " * 40) as t:
        answer = t.ask(QUESTION, Text(BOOK))
    assert answer.notes == (f"cut at {answer.usage.completion_tokens} new tokens",)


@pytest.mark.parametrize("limit", ["max_total_s", "max_cost"])
def test_a_limit_in_seconds_cuts_a_slow_answer_off(home: Path, limit: str) -> None:
    limits = Budget(**{limit: 2.5})
    with Turnout(engine=FakeEngine(answers=["Marta Lindqvist repaired it " * 100], token_s=0.1)) as t:
        *_, cut, done = t.stream(QUESTION, Text(BOOK), budget=limits)
    assert cut == Cut(limit, 2.5)
    assert isinstance(done, Done)
    assert done.answer.text.startswith("Marta Lindqvist")
    assert done.answer.usage.total_s < 2.7
    assert done.answer.notes == ("cut by the time limit",)


@pytest.mark.parametrize("answer", ["Not in the text. " * 100, "word " * 400])
def test_what_is_cut_before_it_answers_is_an_error_unless_the_model_refused(home: Path, answer: str) -> None:
    with Turnout(engine=FakeEngine(answers=[answer], token_s=0.1)) as t:
        if "Not" in answer:
            assert t.ask(QUESTION, Text(BOOK), budget=Budget(max_total_s=2.5)).abstained
        else:
            with pytest.raises(EngineTimeoutError, match="before there was an answer"):
                t.ask(QUESTION, Text(BOOK), budget=Budget(max_total_s=2.5))


def test_a_second_question_inside_an_open_stream_is_refused_not_stuck(t: Turnout, book: Path) -> None:
    stream = t.stream(QUESTION, [book])
    next(stream)
    with pytest.raises(ConfigurationError, match="still being streamed"):
        t.ask(QUESTION, [book])
    stream.close()
    assert t.ask(QUESTION, [book]).text


def test_time_spent_waiting_for_ones_turn_counts(home: Path, book: Path) -> None:
    answers = []
    with Turnout(engine=FakeEngine(answers=["Marta Lindqvist did it " * 5], token_s=0.02)) as t:
        threads = [threading.Thread(target=lambda: answers.append(t.ask(QUESTION, [book]))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    totals = sorted(answer.usage.total_s for answer in answers)
    assert totals[2] > 2 * totals[0]


def test_closing_stops_the_answer_that_is_running(home: Path, book: Path) -> None:
    t = Turnout(engine=FakeEngine(answers=["word " * 400], token_s=0.01)).open()
    errors = []

    def ask() -> None:
        try:
            t.ask(QUESTION, [book])
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    t.close()
    thread.join(timeout=5)
    assert len(errors) == 1


def test_a_ledger_that_cannot_be_written_does_not_cost_the_answer(
    t: Turnout, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr("turnout.router.ledger.Ledger.record", full)
    answer = t.ask(QUESTION, [book])
    assert "Marta" in answer.text
    assert answer.notes == ("not recorded in the ledger: no space left",)


def test_a_warm_question_embeds_once(home: Path, book: Path) -> None:
    embedder = WordEmbedder()
    calls: list[int] = []
    plain = embedder.embed
    embedder.embed = lambda texts, progress=None: (calls.append(len(texts)), plain(texts, progress))[1]
    with Turnout(engine=FakeEngine(), embedder=embedder) as t:
        t.ask(QUESTION, [book], strategy="rag")
        calls.clear()
        answer = t.ask("What does the ferry cost?", [book], strategy="rag")
    assert calls == [1]
    assert answer.usage.index_s < answer.usage.total_s + 0.5


def test_the_library_needs_no_model(home: Path, book: Path) -> None:
    with Turnout() as t:  # the default model is not in this data directory
        assert t.add(book).documents
        assert [d.title for d in t.documents()] == ["book.md"]
        assert t.log() == []
        assert t.remove("book.md")
        with pytest.raises(ModelError, match="smollm2-135m"):
            t.ask(QUESTION, [book])

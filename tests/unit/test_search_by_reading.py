"""Searches for which the model reads the documents: in its turn, told, stopped, and the same text word for word."""

from __future__ import annotations

import pytest
from support.able import AbleEngine
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError, UnknownNameError

QUESTION = "Who repaired the lighthouse lamp?"
ANSWER = "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal."
READING = ["chunkfree", "attention"]


@pytest.mark.parametrize("retriever", READING)
def test_the_best_hit_holds_the_answer_at_its_place(retriever: str) -> None:
    told: list[tuple[str, int, int]] = []
    with Turnout(engine=AbleEngine(), progress=lambda *step: told.append(step)) as t:
        hits = t.search(QUESTION, Text(BOOK, "book.md", metadata={"shelf": 2}), limit=2, retriever=retriever)
        t.add(Text(BOOK, "book.md"), collection="books")
        listed = t.search(QUESTION, collection="books", limit=2, retriever=retriever)
    assert ANSWER in hits[0].text
    assert hits[0].text == BOOK[hits[0].start : hits[0].end]
    assert hits[0].metadata == {"shelf": 2}
    assert hits[0].cosine is None
    assert [(hit.start, hit.end) for hit in listed] == [(hit.start, hit.end) for hit in hits]
    reading = [(done, total) for stage, done, total in told if stage == "reading"]
    assert reading[-1][0] == reading[-1][1]


@pytest.mark.parametrize("strategy", ["rag:chunkfree", "rag:attention"])
def test_an_answer_tells_how_far_the_documents_are_read_and_can_be_given_up(strategy: str) -> None:
    told: list[tuple[str, int, int]] = []
    with Turnout(engine=AbleEngine(), progress=lambda *step: told.append(step)) as t:
        answer = t.ask(QUESTION, Text(BOOK * 3), strategy=strategy)
        tokens = t.count_tokens(BOOK * 3)
    reading = [(done, total) for stage, done, total in told if stage == "reading" and total > tokens // 2]
    assert reading[-1][0] == reading[-1][1]
    assert answer.usage.scanned_tokens >= reading[-1][1]
    engine = AbleEngine()
    with Turnout(engine=engine) as t:
        given_up = t.stream(QUESTION, Text(BOOK * 3), strategy=strategy, stopped=lambda: engine.read > 0)
        with pytest.raises(Cancelled):
            list(given_up)
        assert engine.contexts == [], "nothing was asked any more"


def test_what_can_not_be_done_is_named() -> None:
    with Turnout(engine=FakeEngine()) as t:
        for retriever in READING:
            with pytest.raises(ConfigurationError, match="needs a model that this machine runs, fake is none"):
                t.search(QUESTION, Text(BOOK), retriever=retriever)
        with pytest.raises(UnknownNameError, match="unknown retriever 'chunkfre'"):
            t.search(QUESTION, Text(BOOK), retriever="chunkfre")
        with pytest.raises(ConfigurationError, match="question is empty"):
            t.search(" ", Text(BOOK), retriever="chunkfree")


async def test_searches_wait_for_answers_and_both_ways_are_the_same() -> None:
    with Turnout(engine=AbleEngine()) as t:
        answering = t.stream(QUESTION, Text(BOOK), strategy="rag")
        next(answering)
        with pytest.raises(ConfigurationError, match="still being streamed in this thread"):
            t.search(QUESTION, Text(BOOK), retriever="chunkfree")
        assert t.search(QUESTION, Text(BOOK)), "the index has no turn to wait for"
        answering.close()
        found = t.search(QUESTION, Text(BOOK), retriever="chunkfree")
        assert await t.asearch(QUESTION, Text(BOOK), retriever="chunkfree") == found

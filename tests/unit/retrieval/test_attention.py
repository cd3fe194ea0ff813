"""Sliding over documents by attention: every depth, flat memory, whole sentences in order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.documents import Document
from turnout.errors import Cancelled, ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.retrieval.attention import AttentionRetriever
from turnout.retrieval.corpus import Corpus
from turnout.types import ModelInfo

NEEDLE = "The keeper hid the brass key under the third stair. "
QUESTION = "where is the brass key of the keeper?"


class Overlap:
    """Looks at the words of the question; remembers the tokens that it has read at once."""

    model = ModelInfo("overlap", 4096, "overlap")

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def open(self) -> None:
        pass

    def count_text(self, text: str) -> int:
        return len(text.split())

    def attend(
        self, texts: Sequence[str], question: str, layer: int | None = None, watch: Watch | None = None
    ) -> list[list[float]]:
        assert watch is not None
        watch.read(sum(map(self.count_text, texts)))
        self.read.append(list(texts))
        asked = {word.strip("?.,") for word in question.lower().split()} - {"is", "the", "of", "where"}
        return [[float(word.strip("?.,").lower() in asked) for word in text.split()] for text in texts]


def hay(sentences: int, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    words = ["rain", "fell", "on", "grey", "fields", "and", "nobody", "spoke", "while", "carts", "passed", "slowly"]
    return [" ".join(draw.choices(words, k=draw.randint(6, 14))).capitalize() + ". " for _ in range(sentences)]


def corpus(*texts: str, kind: str = "text") -> Corpus:
    documents = [
        Document(f"d{number}", f"{number}.txt", text, f"{number}.txt", kind) for number, text in enumerate(texts)
    ]
    return Corpus(documents, [])


@pytest.mark.parametrize("depth", [0.0, 0.1, 0.35, 0.5, 0.77, 1.0])
def test_a_needle_is_found_at_every_depth_in_flat_memory(depth: float) -> None:
    lines = hay(2000)
    lines.insert(round(depth * 2000), NEEDLE)
    engine = Overlap()
    retriever = AttentionRetriever(engine, window_tokens=200, top_tokens=20, kept_tokens=100)
    (best, *_) = retriever.retrieve(QUESTION, corpus("".join(lines)), 5)
    assert NEEDLE.strip() in best.text
    assert len(engine.read) > 50
    assert max(sum(map(engine.count_text, texts)) for texts in engine.read) <= 300


def test_reading_is_told_window_by_window() -> None:
    lines = hay(100)
    told: list[tuple[str, int, int]] = []
    engine, watch = Overlap(), Watch(progress=lambda *step: told.append(step))
    AttentionRetriever(engine, window_tokens=100).retrieve(QUESTION, corpus("".join(lines)), 5, watch)
    assert len(told) > 8
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert told[-1] == ("reading", told[-1][2], sum(len(line.split()) for line in lines))
    assert watch.read_tokens == sum(engine.count_text(text) for texts in engine.read for text in texts)


def test_giving_up_ends_the_reading() -> None:
    engine = Overlap()
    with pytest.raises(Cancelled):
        AttentionRetriever(engine, window_tokens=100).retrieve(
            QUESTION, corpus("".join(hay(100))), 5, Watch(lambda: len(engine.read) == 2)
        )
    assert len(engine.read) == 2


def test_what_is_kept_is_read_again_before_what_is_new() -> None:
    lines = [NEEDLE, *hay(100)]
    engine = Overlap()
    AttentionRetriever(engine, window_tokens=100, top_tokens=8).retrieve(QUESTION, corpus("".join(lines)), 5)
    assert all(texts[0] == NEEDLE for texts in engine.read)
    assert [texts[1:] for texts in engine.read[1:]] != [engine.read[0][1:]] * (len(engine.read) - 1)
    assert "".join(text for texts in engine.read for text in texts[texts[0] == NEEDLE :]) == "".join(lines[1:])


def test_two_needles_in_two_documents_come_in_the_order_of_their_attention() -> None:
    other = "A brass key hangs in the hall. "
    texts = ["".join([*hay(300, 2), other, *hay(20, 3)]), "".join([*hay(250, 4), NEEDLE])]
    found = AttentionRetriever(Overlap(), window_tokens=150, top_tokens=40).retrieve(QUESTION, corpus(*texts), 2)
    assert [NEEDLE.strip() in found[0].text, other.strip() in found[1].text] == [True, True]
    assert found[0].span.document_id == "d1"
    assert found[0].score > found[1].score


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([NEEDLE, "Rain fell. ", "A key.\n\n", "鍵は三段目の下にある。", "مفتاح. ", "\t\n"]), max_size=40
    )
)
def test_passages_are_verbatim_apart_and_within_the_limit(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = AttentionRetriever(Overlap(), window_tokens=12, top_tokens=10).retrieve(QUESTION, corpus(text), 3)
    assert len(found) <= 3
    assert all(passage.text == text[passage.span.start : passage.span.end] for passage in found)
    ordered = sorted(found, key=lambda passage: passage.span.start)
    assert all(a.span.end < b.span.start for a, b in itertools.pairwise(ordered))
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    if NEEDLE in pieces:
        assert any("brass key" in passage.text for passage in found)


def test_repeated_sentences_keep_their_own_places() -> None:
    text = NEEDLE + "Rain fell on the roof. " * 3 + NEEDLE
    found = AttentionRetriever(Overlap(), phrase_tokens=1).retrieve(QUESTION, corpus(text), 9)
    assert {passage.span.start for passage in found} == {0, text.rindex(NEEDLE)}


def test_lines_of_code_are_its_sentences() -> None:
    text = "import os\nbrass = 1\nkey = brass\n"
    found = AttentionRetriever(Overlap(), top_tokens=2, phrase_tokens=1).retrieve(
        QUESTION, corpus(text, kind="code"), 9
    )
    assert [passage.text for passage in found] == ["brass = 1\nkey = brass\n"]


def test_nothing_to_read_and_nothing_that_is_looked_at() -> None:
    assert AttentionRetriever(Overlap()).retrieve(QUESTION, corpus(), 5) == []
    assert AttentionRetriever(Overlap()).retrieve(QUESTION, corpus("", " \n"), 5) == []
    assert AttentionRetriever(Overlap()).retrieve(QUESTION, corpus("Rain fell."), 5) == []
    assert AttentionRetriever(Overlap()).retrieve(QUESTION, corpus(NEEDLE), 0) == []


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigurationError, match="question is empty"):
        AttentionRetriever(Overlap()).retrieve(" ", corpus(NEEDLE), 5)
    with pytest.raises(ConfigurationError, match="top_tokens is 0"):
        AttentionRetriever(Overlap(), top_tokens=0)

    class Broken(Overlap):
        def attend(self, texts: Sequence[str], *rest: Any) -> list[list[float]]:
            return [[float("nan")] * self.count_text(text) for text in texts]

    with pytest.raises(EngineError, match="no number"):
        AttentionRetriever(Broken()).retrieve(QUESTION, corpus(NEEDLE), 5)

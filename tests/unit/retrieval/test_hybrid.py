"""Ranking by words and meaning, fused by hand-computable ranks; parts in document order, neighbours joined."""

from __future__ import annotations

import numpy as np
import pytest
from support.embedders import WordEmbedder

from turnout.documents import Document, Passage, Segment, Span
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever, reciprocal_rank
from turnout.retrieval.lexical import LexicalIndex
from turnout.retrieval.merge import in_document_order
from turnout.types import Part

PIECES = ["The lamp was repaired by Marta. ", "Coal came by cart. ", "The ferry costs four crowns. ", "Rain fell. "]


def corpus_of(*documents: list[str], embedder: WordEmbedder | None = None) -> Corpus:
    made, segments, texts = [], [], []
    for number, pieces in enumerate(documents):
        id_, start = f"d{number}", 0
        made.append(Document(id_, f"{number}.txt", "".join(pieces), f"{number}.txt", "text"))
        for piece in pieces:
            segments.append(Segment(Span(id_, start, start + len(piece)), piece, len(piece)))
            texts.append(piece)
            start += len(piece)
    if embedder is None:
        return Corpus(made, segments)
    vectors = embedder.embed(texts)
    return Corpus(made, segments, fingerprint=embedder.fingerprint, vectors=lambda: vectors)


def passage(corpus: Corpus, start: int, end: int, document: str = "d0") -> Passage:
    span = Span(document, start, end)
    return Passage(span, corpus.text(span), 1.0)


def test_reciprocal_rank_by_hand() -> None:
    fused = reciprocal_rank([np.array([2, 0]), np.array([0, 1, 2])], 4)
    assert np.allclose(fused, [1 / 62 + 1 / 61, 1 / 62, 1 / 61 + 1 / 63, 0], atol=0, rtol=1e-12)
    assert np.argmax(fused) == 0


def test_words_alone_without_an_embedder() -> None:
    result = HybridRetriever().search("What does the ferry cost? crowns", corpus_of(PIECES), 10)
    assert result.cosines is None
    assert [p.text for p in result.passages] == [PIECES[2]]
    assert result.passages[0].score == pytest.approx(1 / 61)
    assert (result.bm25 > 0).tolist() == [False, False, True, False]


def test_an_embedder_needs_vectors_to_compare_with() -> None:
    assert HybridRetriever(WordEmbedder()).search("ferry", corpus_of(PIECES), 4).cosines is None


def test_both_rankings_are_fused() -> None:
    embedder = WordEmbedder()
    result = HybridRetriever(embedder).search("ferry crowns", corpus_of(PIECES, embedder=embedder), 2)
    assert result.cosines is not None
    assert result.passages[0].text == PIECES[2]
    assert result.passages[0].score == pytest.approx(2 / 61)
    assert len(result.passages) == 2
    assert result.passages[0].score > result.passages[1].score


def test_scores_follow_their_definition() -> None:
    embedder = WordEmbedder()
    corpus = corpus_of(PIECES, embedder=embedder)
    result = HybridRetriever(embedder).search("Marta came by ferry", corpus, 4)
    assert result.cosines is not None and corpus.vectors is not None
    assert np.allclose(result.cosines, corpus.vectors @ embedder.embed(["Marta came by ferry"])[0])
    words = [i for i in np.argsort(-result.bm25, kind="stable") if result.bm25[i] > 0]
    meaning = list(np.argsort(-result.cosines, kind="stable"))
    for found in result.passages:
        number = next(i for i, s in enumerate(corpus.segments) if s.span == found.span)
        by_words = 1 / (61 + words.index(number)) if number in words else 0
        assert found.score == pytest.approx(by_words + 1 / (61 + meaning.index(number)))


@pytest.mark.parametrize("question", ["", "the of and", "?!", "zyzzyva"])
def test_a_question_without_known_words_finds_nothing_by_words(question: str) -> None:
    assert HybridRetriever().retrieve(question, corpus_of(PIECES), 5) == []
    embedder = WordEmbedder()
    assert len(HybridRetriever(embedder).retrieve(question, corpus_of(PIECES, embedder=embedder), 5)) == 4


@pytest.mark.parametrize("limit", [0, -1])
def test_no_passages_for_no_limit(limit: int) -> None:
    assert HybridRetriever().retrieve("ferry", corpus_of(PIECES), limit) == []


def test_an_empty_corpus() -> None:
    assert HybridRetriever(WordEmbedder()).retrieve("ferry", Corpus([], []), 5) == []


def test_vectors_of_another_embedder_are_refused() -> None:
    one, two = WordEmbedder("one"), WordEmbedder("two")
    with pytest.raises(ConfigurationError, match=f"{one.fingerprint[:12]}.*read by {two.fingerprint[:12]}"):
        HybridRetriever(two).retrieve("ferry", corpus_of(PIECES, embedder=one), 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_question_whose_vector_is_no_direction_is_refused(bad: float) -> None:
    embedder = WordEmbedder()
    corpus = corpus_of(PIECES, embedder=embedder)
    embedder.embed = lambda texts, progress=None: np.full((len(texts), 64), bad, np.float32)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="the embedder returned"):
        HybridRetriever(embedder).retrieve("ferry", corpus, 5)


def test_identical_segments_come_in_document_order() -> None:
    embedder = WordEmbedder()
    found = HybridRetriever(embedder).retrieve("ferry", corpus_of(["The ferry. "] * 6, embedder=embedder), 4)
    assert [passage.span.start for passage in found] == [0, 11, 22, 33]


def test_words_in_scripts_without_spaces_and_single_digits() -> None:
    index = LexicalIndex(["渡し船は四クローネです", "石炭は荷車で来た", "clause 5 holds", "clause 6 holds"])
    assert np.argmax(index.scores("渡し船")) == 0
    assert np.argmax(index.scores("clause 5")) == 2
    assert index.scores("CLAUSE")[2] > 0


def test_texts_of_stop_words_alone_can_be_indexed() -> None:
    assert LexicalIndex(["the", "of and"]).scores("the ferry").tolist() == [0, 0]
    assert LexicalIndex(["", "ferry"]).scores("ferry")[1] > 0


def test_parts_come_in_document_order_with_neighbours_joined() -> None:
    corpus = corpus_of(PIECES, PIECES)
    a, b, c = len(PIECES[0]), len(PIECES[0] + PIECES[1]), len("".join(PIECES[:3]))
    passages = [
        passage(corpus, 0, a, "d1"),
        passage(corpus, b, c),
        passage(corpus, a, b),
        passage(corpus, b, len("".join(PIECES)), "d1"),
    ]
    parts = in_document_order(passages, corpus, lambda parts: True)
    assert [(p.span.document_id, p.text) for p in parts] == [
        ("d0", PIECES[1] + PIECES[2]),
        ("d1", PIECES[0]),
        ("d1", PIECES[2] + PIECES[3]),
    ]
    assert [p.title for p in parts] == ["0.txt", "1.txt", "1.txt"]


def test_overlaps_and_gaps_of_white_space_are_joined() -> None:
    corpus = corpus_of(["abc def \n ghi jkl"])
    ranges = [(0, 5), (3, 7), (10, 13), (14, 17), (4, 6)]
    parts = in_document_order([passage(corpus, *r) for r in ranges], corpus, lambda parts: True)
    assert [p.text for p in parts] == ["abc def \n ghi jkl"]
    parts = in_document_order([passage(corpus, *r) for r in [(0, 3), (5, 7)]], corpus, lambda parts: True)
    assert [p.text for p in parts] == ["abc", "ef"]


@pytest.mark.parametrize("room", range(0, 110, 7))
def test_the_best_passages_that_fit_are_kept(room: int) -> None:
    corpus = corpus_of(PIECES, PIECES)
    order = [6, 1, 2, 7, 0, 3, 5, 4]
    passages = [Passage(s.span, corpus.text(s.span), 0.0) for s in (corpus.segments[i] for i in order)]
    asked = 0

    def fits(parts: list[Part]) -> bool:
        nonlocal asked
        asked += 1
        return sum(len(part.text) for part in parts) <= room

    kept = in_document_order(passages, corpus, fits)
    count = 0
    while count < len(passages) and sum(len(p.text) for p in passages[: count + 1]) <= room:
        count += 1
    assert sum(len(p.text) for p in kept) == sum(len(p.text) for p in passages[:count])
    assert asked <= 4

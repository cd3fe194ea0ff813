"""A learned band of the ranking by meaning: which passages it names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.bands import Fixed, saved
from support.embedders import WordEmbedder
from support.library import library_corpus

from turnout.documents import Document, Segment, Span
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.band import Band
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.ldar import LdarRetriever
from turnout.retrieval.learned_band import LearnedBand

PIECES = ["The ferry costs four crowns. ", "The ferry is old. ", "Coal came by cart. ", "Rain fell. ", "It is cold. "]
QUESTION = "What does the ferry cost, four crowns?"


def corpus_of(pieces: list[str], embedder: WordEmbedder | None = None) -> Corpus:
    document = Document("d", "d.txt", "".join(pieces), "d.txt", "text")
    segments, start = [], 0
    for piece in pieces:
        segments.append(Segment(Span("d", start, start + len(piece)), piece, len(piece)))
        start += len(piece)
    if embedder is None:
        return Corpus([document], segments)
    vectors = embedder.embed(pieces)
    return Corpus([document], segments, fingerprint=embedder.fingerprint, embedder="words", vectors=lambda: vectors)


@given(st.integers(1, 700), st.data())
def test_every_band_is_named_by_its_middle(passages: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, passages - 1))
    count = data.draw(st.integers(1, passages - first))
    assert Band.of(first, count, passages).places(passages) == range(first, first + count)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 700))
def test_a_band_is_never_empty_and_never_outside(high: float, width: float, passages: int) -> None:
    places = Band(high, width).places(passages)
    assert 0 <= places.start < places.stop <= passages


def test_the_highest_quantile_is_the_most_similar_passage() -> None:
    assert Band(1.0, 0.0).places(10) == range(1)
    assert Band(1.0, 1.0).places(10) == range(10)
    assert Band(0.0, 1.0).places(10) == range(9, 10)
    assert Band(0.5, 0.2).places(0) == range(0)


def test_passages_are_those_of_the_band_most_similar_first() -> None:
    embedder = WordEmbedder()
    corpus = corpus_of(PIECES, embedder)
    found, cosines = LdarRetriever(embedder, Fixed(1, 2)).search(QUESTION, corpus, 9)
    assert cosines is not None
    ranked = np.argsort(-cosines, kind="stable")
    assert ranked[0] == 0
    assert [passage.text for passage in found] == [PIECES[number] for number in ranked[1:3]]
    assert [passage.score for passage in found] == pytest.approx([float(cosines[number]) for number in ranked[1:3]])
    assert len(LdarRetriever(embedder, Fixed(0, 5)).retrieve(QUESTION, corpus, 2)) == 2
    assert LdarRetriever(embedder, Fixed(0, 5)).retrieve(QUESTION, corpus, 0) == []


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(["One sentence alone."], id="one"),
        pytest.param(["The ferry. "] * 40, id="all alike"),
        pytest.param(["鍵は三段目の下にある。", "灯台は島に立つ。"], id="no spaces"),
        pytest.param(["المفتاح تحت الدرجة الثالثة. ", "المنارة على الجزيرة. "], id="right to left"),
    ],
)
def test_at_least_one_passage_of_any_text(tmp_path: Path, pieces: list[str]) -> None:
    embedder, corpus = WordEmbedder(), corpus_of(pieces, WordEmbedder())
    found = LdarRetriever(embedder, LearnedBand(saved(tmp_path / "ldar"))).retrieve(QUESTION, corpus, 99)
    assert 1 <= len(found) <= len(pieces)
    assert all(passage.text == corpus.text(passage.span) for passage in found)


def test_the_policy_does_not_mind_the_order_and_sees_every_length(tmp_path: Path) -> None:
    policy = LearnedBand(saved(tmp_path / "ldar"))
    rng = np.random.default_rng(1)
    for size in (1, 2, 30, 5000):
        similarities = rng.normal(0.3, 0.2, size).astype(np.float32)
        band = policy.band(similarities)
        assert policy.band(rng.permutation(similarities)) == band
        assert 0 < band.high < 1 and 0 < band.width < 1
    assert policy.band(np.full(30, 0.2, np.float32)) != policy.band(np.full(31, 0.2, np.float32))


def test_real_segments_of_a_library(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    corpus = library_corpus(tmp_path, embedder, "The harbour is quiet. " * 200 + "The ferry costs four crowns. " * 20)
    retriever = LdarRetriever(embedder, Fixed(0, 1))
    retriever.warm(corpus)
    (best,) = retriever.retrieve(QUESTION, corpus, 5)
    assert "four crowns" in best.text


def test_bad_input_is_named() -> None:
    embedder = WordEmbedder()
    retriever = LdarRetriever(embedder, Fixed(0, 1))
    assert retriever.retrieve(QUESTION, Corpus([], []), 5) == []
    with pytest.raises(ConfigurationError, match="question is empty"):
        retriever.retrieve(" \n", corpus_of(PIECES, embedder), 5)
    with pytest.raises(ConfigurationError, match="have no vectors"):
        retriever.retrieve(QUESTION, corpus_of(PIECES), 5)
    other = WordEmbedder("two")
    with pytest.raises(
        ConfigurationError, match=f"embedder words, and the question is read by {other.fingerprint[:12]}"
    ):
        LdarRetriever(other, Fixed(0, 1)).retrieve(QUESTION, corpus_of(PIECES, embedder), 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    embedder, corpus = WordEmbedder(), corpus_of(PIECES, WordEmbedder())
    assert corpus.vectors is not None
    corpus.vectors[2] = bad
    with pytest.raises(ModelError, match="vectors of 1 of 5 segments are no numbers"):
        LdarRetriever(embedder, Fixed(0, 1)).retrieve(QUESTION, corpus, 5)
    similarities: NDArray[np.float32] = np.full(4, bad, np.float32)
    with pytest.raises(ModelError, match="no number"):
        LearnedBand(saved(tmp_path / "ldar")).band(similarities)


def test_weights_that_are_not_theirs_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "ldar")
    with pytest.raises(ConfigurationError, match="trained with the embedder words, not with"):
        LearnedBand(folder).check(WordEmbedder("other"))
    weights, card = folder / "ldar.safetensors", folder / "card.json"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    with pytest.raises(ModelError, match="not what its card says"):
        LearnedBand(folder).open()
    weights.unlink()
    with pytest.raises(ModelError, match="only safetensors"):
        LearnedBand(folder).open()
    weights.write_bytes(data)
    kept = json.loads(card.read_text())
    card.write_text(json.dumps(kept | {"recipe": kept["recipe"] | {"layers": 2}}))
    with pytest.raises(ModelError, match="can't be loaded"):
        LearnedBand(folder).open()
    for content, message in (
        ("{", "can't be read"),
        ("{}", "holds no weights"),
        ('{"kind": "ldar"}', "lacks a usable"),
    ):
        card.write_text(content)
        with pytest.raises(ModelError, match=message):
            LearnedBand(folder)

"""Late chunking: the vector of a segment knows what stands around it, and is kept for that surrounding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import tiny_bert
from support.embedders import WordEmbedder

from turnout.compression.memory_cache import MemoryCache
from turnout.documents import Document, Segment, Span
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.late import LateVectors, windows

pytest.importorskip("torch")

WORDS = "the lamp was repaired by marta coal came cart ferry costs four crowns rain fell it is old".split()


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.retrieval.embed.has_fast_bf16", lambda: False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.build(tmp_path_factory.mktemp("models") / "bert", WORDS)


def corpus_of(*documents: Sequence[str]) -> Corpus:
    made, segments = [], []
    for number, pieces in enumerate(documents):
        start = 0
        made.append(Document(f"d{number}", "d", "".join(pieces), "d.txt", "text"))
        for piece in pieces:
            span = Span(f"d{number}", start, start + len(piece))
            segments.append(Segment(span, piece, len(piece.split())))
            start += len(piece)
    return Corpus(made, segments)


def vectors(folder: Path, corpus: Corpus, cache: MemoryCache | None = None) -> NDArray[np.float32]:
    return LateVectors(SentenceEmbedder(folder, "cpu"), cache or MemoryCache()).of(corpus)


def test_a_segment_that_is_all_there_is_has_its_plain_vector(folder: Path) -> None:
    text = "the ferry costs four crowns "
    plain = SentenceEmbedder(folder, "cpu").embed([text])
    assert np.allclose(vectors(folder, corpus_of([text])), plain, atol=1e-5)


def test_the_same_words_elsewhere_have_another_vector(folder: Path) -> None:
    found = vectors(folder, corpus_of(["the ferry costs four crowns ", "it is old "], ["coal came ", "it is old "]))
    assert found.shape == (4, 24)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert not np.allclose(found[1], found[3], atol=1e-2)
    alone = SentenceEmbedder(folder, "cpu").embed(["it is old "])[0]
    assert not np.allclose(found[1], alone, atol=1e-2)


def test_a_vector_is_the_mean_over_the_segments_own_tokens(folder: Path) -> None:
    """By hand, from the states of the whole text."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    pieces = ["the lamp was repaired ", "by marta rain fell "]
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("".join(pieces)).ids
    with torch.inference_mode():
        states = model(torch.tensor([ids])).last_hidden_state[0].numpy()
    expected = np.stack([states[:5].sum(0), states[5:].sum(0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors(folder, corpus_of(pieces)), expected, atol=1e-4)


def test_one_pass_for_each_window_and_none_for_what_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    together = SentenceEmbedder.embed_together

    def counted(self: SentenceEmbedder, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        read.extend(map(len, texts))
        return together(self, texts)

    monkeypatch.setattr(SentenceEmbedder, "embed_together", counted)
    cache = MemoryCache()
    pieces = ["rain fell by cart " for _ in range(20)]
    first = vectors(folder, corpus_of(pieces), cache)
    assert len(read) == len(list(windows(corpus_of(pieces).segments, 27))) < 20
    assert max(read) * 4 <= 27
    read.clear()
    assert np.array_equal(vectors(folder, corpus_of(pieces), cache), first)
    assert read == []
    changed = [*pieces[:10], "it is old ", *pieces[10:]]
    vectors(folder, corpus_of(changed), cache)
    assert 0 < len(read) < 4, "an edit makes the windows around it anew"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=15), st.integers(1, 50))
def test_windows_count_every_segment_once_in_order(sizes: list[tuple[int, int]], tokens: int) -> None:
    segments = [
        Segment(Span(f"d{document}", at, at + 1), str(at), size) for at, (document, size) in enumerate(sorted(sizes))
    ]
    found = list(windows(segments, tokens))
    assert [n for window in found for n in range(window.begin, window.end)] == list(range(len(segments)))
    for window in found:
        inside = segments[window.first : window.end]
        assert window.first <= window.begin < window.end
        assert len({segment.span.document_id for segment in inside}) == 1
        assert sum(segment.tokens_estimate for segment in inside) <= tokens or len(inside) == 1


def test_what_stands_before_a_window_is_read_again_where_it_is_short() -> None:
    segments = [Segment(Span("d", at, at + 1), str(at), size) for at, size in enumerate([30, 8, 30, 30])]
    assert [(w.first, w.begin, w.end) for w in windows(segments, 40)] == [(0, 0, 2), (1, 2, 3), (3, 3, 4)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(["the ferry " * 40], id="longer than the window"),
        pytest.param(["rain fell ", "\u200b\u200b", "it is old "], id="a piece without tokens"),
        pytest.param(["鍵は三段目の下。", "المفتاح تحت ", "🏮e\u0301 "], id="unknown words"),
        pytest.param(["it is old "] * 30, id="all alike"),
    ],
)
def test_any_text_has_vectors(folder: Path, pieces: list[str]) -> None:
    found = vectors(folder, corpus_of(pieces))
    assert found.shape == (len(pieces), 24)
    assert np.isfinite(found).all()
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


def test_a_search_goes_by_them_and_an_embedder_that_can_not_is_refused(folder: Path) -> None:
    embedder = SentenceEmbedder(folder, "cpu")
    corpus = corpus_of(["the ferry costs four crowns ", "coal came by cart ", "rain fell "])
    result = HybridRetriever(embedder, late=LateVectors(embedder, MemoryCache())).search("ferry crowns", corpus, 3)
    assert result.cosines is not None
    assert np.allclose(result.cosines, vectors(folder, corpus) @ embedder.embed(["ferry crowns"])[0], atol=1e-5)
    assert result.passages[0].text == "the ferry costs four crowns "
    assert LateVectors(embedder, MemoryCache()).of(Corpus([], [])).shape == (0, 24)
    words = WordEmbedder()
    with pytest.raises(ConfigurationError, match=f"late chunking needs .* {words.fingerprint[:12]} is none"):
        LateVectors(words, MemoryCache())


def test_values_that_are_no_numbers_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(self: SentenceEmbedder, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        return [np.full((len(pieces), 24), np.nan, np.float32) for pieces in texts]

    monkeypatch.setattr(SentenceEmbedder, "embed_together", poisoned)
    with pytest.raises(ModelError, match="not numbers"):
        vectors(folder, corpus_of(["rain fell "]))

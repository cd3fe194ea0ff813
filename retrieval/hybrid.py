"""The default retriever: words and meaning, fused by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import Embedder, Ranker
from turnout.documents import Passage
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.late import LateVectors
from turnout.retrieval.search_signals import SearchSignals, measure
from turnout.retrieval.similarity import similarities
from turnout.retrieval.vectors import of_question

if TYPE_CHECKING:
    from turnout.contracts import Retriever

RANK_CONSTANT = 60
"""k of reciprocal rank fusion, as published."""

RANKED = 50
"""Passages that a ranker reads for a question."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first, and every segment's score by meaning and by words, in the order of `corpus.segments`.

    `cosines` is None where there is no embedder.
    """

    passages: list[Passage]
    cosines: NDArray[np.float32] | None
    bm25: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Scores:
    question: str
    corpus: ref[Corpus]
    words: NDArray[np.float32]
    cosines: NDArray[np.float32] | None


class HybridRetriever:
    """BM25 and dense cosine, fused by reciprocal rank; BM25 alone without an embedder.

    Args:
        embedder: the one that made the corpus' vectors.
        late: makes vectors by late chunking, which then take the place of the corpus' own.
        ranker: puts the best RANKED in order.
    """

    name = "hybrid"

    def __init__(
        self, embedder: Embedder | None = None, *, late: LateVectors | None = None, ranker: Ranker | None = None
    ) -> None:
        self._embedder = embedder
        self._late, self._ranker = late, ranker
        self._late_vectors: WeakKeyDictionary[Corpus, NDArray[np.float32]] = WeakKeyDictionary()
        self._warm: WeakSet[Corpus] = WeakSet()
        self._last: _Scores | None = None

    def warm(self, corpus: Corpus) -> None:
        """Loads the models, and makes the word index and the vectors that are missing, by searching once."""
        if corpus not in self._warm:
            if self._ranker is not None:
                self._ranker.open()
            self._scores("warm", corpus)
            self._warm.add(corpus)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages, best first, scored by the fused rank, or by the ranker, between whose batches the
        watch may end it."""
        return self.search(question, corpus, limit, watch).passages

    def search(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> SearchResult:
        """Like `retrieve`, with the scores behind the ranks.

        Raises:
            ConfigurationError: the corpus' vectors come from another embedder.
            ModelError: a model broke its contract.
            Cancelled: the watch said so.
        """
        words, cosines = self._scores(question, corpus)
        by_words = np.argsort(-words, kind="stable")
        rankings = [by_words[words[by_words] > 0]]
        if cosines is not None:
            rankings.append(np.argsort(-cosines, kind="stable"))
        fused = reciprocal_rank(rankings, len(corpus.segments))
        limit = max(limit, 0)
        best = np.argsort(-fused, kind="stable")[: max(limit, RANKED) if self._ranker and limit else limit]
        passages = [
            Passage(span, corpus.text(span), float(fused[number]))
            for number in best
            if fused[number] > 0
            for span in (corpus.segments[number].span,)
        ]
        if self._ranker is not None:
            passages = ranked(self._ranker, question, passages, watch)[:limit]
        return SearchResult(passages, cosines, words)

    def look(self, question: str, corpus: Corpus) -> SearchSignals | None:
        """What a search shows before anything is read; None where it would first have to load, to index or to make
        vectors, or where there are none. A search for the same question afterwards costs nothing more."""
        if corpus not in self._warm or not corpus.segments:
            return None
        _, cosines = self._scores(question, corpus)
        return None if cosines is None else measure(cosines, *corpus.lexical.coverage(question))

    def _scores(self, question: str, corpus: Corpus) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Scores by words and by meaning; those of the last question are kept."""
        last = self._last
        if last is None or last.question != question or last.corpus() is not corpus:
            last = _Scores(question, ref(corpus), corpus.lexical.scores(question), self._cosines(question, corpus))
            self._last = last
        return last.words, last.cosines

    def _cosines(self, question: str, corpus: Corpus) -> NDArray[np.float32] | None:
        if self._embedder is None:
            return None
        if self._late is None or not corpus.segments:
            return similarities(self._embedder, question, corpus)
        if corpus not in self._late_vectors:
            self._late_vectors[corpus] = self._late.of(corpus)
        found: NDArray[np.float32] = self._late_vectors[corpus] @ of_question(self._embedder, question)
        return found


def ranked(ranker: Ranker, question: str, passages: Sequence[Passage], watch: Watch | None) -> list[Passage]:
    """The best RANKED by the ranker's scores, and behind them the others, as they were; equal ones keep their order."""
    scores = ranker.scores(question, [passage.text for passage in passages[:RANKED]], watch)
    first = [replace(passage, score=score) for passage, score in zip(passages, scores, strict=False)]
    worst = min(scores, default=0.0)
    # Scores are comparable within a call: what was not read by the ranker is not better than the worst that was.
    rest = [replace(passage, score=worst + passage.score - 1) for passage in passages[RANKED:]]
    return sorted(first, key=lambda passage: -passage.score) + rest


def reciprocal_rank(rankings: Sequence[NDArray[np.intp]], size: int) -> NDArray[np.float64]:
    """[size] scores: the sum over rankings of 1 / (60 + rank), rank from 1; 0 for what no ranking holds.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009.

    Args:
        rankings: item numbers, best first; a ranking may leave items out.
        size: number of items.
    """
    fused = np.zeros(size, np.float64)
    for ranking in rankings:
        fused[ranking] += 1.0 / (RANK_CONSTANT + 1 + np.arange(len(ranking)))
    return fused


if TYPE_CHECKING:
    _: type[Retriever] = HybridRetriever

"""The default retriever: words and meaning, fused by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakSet, ref

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import Embedder
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.search_signals import SearchSignals, measure
from turnout.retrieval.vectors import of_question
from turnout.types import Passage

if TYPE_CHECKING:
    from turnout.contracts import Retriever

RANK_CONSTANT = 60
"""k of reciprocal rank fusion, as published."""


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
    """

    name = "hybrid"

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._warm: WeakSet[Corpus] = WeakSet()
        self._last: _Scores | None = None

    def warm(self, corpus: Corpus) -> None:
        """Loads the embedder, and makes the word index and the vectors that are missing, by searching once."""
        if corpus not in self._warm:
            self.search("warm", corpus, 1)
            self._warm.add(corpus)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages, best first, scored by the fused rank; too quick to be told of."""
        return self.search(question, corpus, limit).passages

    def search(self, question: str, corpus: Corpus, limit: int) -> SearchResult:
        """Like `retrieve`, with the scores behind the ranks.

        Raises:
            ConfigurationError: the corpus' vectors come from another embedder.
        """
        words, cosines = self._scores(question, corpus)
        by_words = np.argsort(-words, kind="stable")
        rankings = [by_words[words[by_words] > 0]]
        if cosines is not None:
            rankings.append(np.argsort(-cosines, kind="stable"))
        fused = reciprocal_rank(rankings, len(corpus.segments))
        best = np.argsort(-fused, kind="stable")[: max(limit, 0)]
        passages = [
            Passage(span, corpus.text(span), float(fused[number]))
            for number in best
            if fused[number] > 0
            for span in (corpus.segments[number].span,)
        ]
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
        if self._embedder is None or corpus.fingerprint is None or not corpus.segments:
            return None
        if corpus.fingerprint != self._embedder.fingerprint:
            raise ConfigurationError(
                "the question's embedder is not the one that the documents were indexed with",
                hint="open the library with the same embedder",
            )
        return corpus.cosines(of_question(self._embedder, question))


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

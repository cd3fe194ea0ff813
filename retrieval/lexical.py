"""Search by words: BM25 over a fixed list of texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A word is a run of letters, digits and underscores; scripts written without spaces count each character.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = rf"(?u)[{_CJK}]|[^\W{_CJK}]+"


class LexicalIndex:
    """BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) in Lucene's form, through bm25s.

    Args:
        texts: what is searched; scores come in this order.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        # At DEBUG it reports every index, on any root handler that some other library set up.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        self._size = len(texts)
        words = _words(texts)
        self._index: bm25s.BM25 | None = None
        if words.vocab:
            self._index = bm25s.BM25()
            self._index.index(words, show_progress=False)

    def scores(self, question: str) -> NDArray[np.float32]:
        """[texts] float32, 0 where no word of the question occurs; English stop words do not count."""
        if self._index is None:
            return np.zeros(self._size, np.float32)
        words = [word for word in _words([question]).vocab if word and word in self._index.vocab_dict]
        if not words:
            return np.zeros(self._size, np.float32)
        scores: NDArray[np.float32] = self._index.get_scores(words).astype(np.float32, copy=False)
        return scores

    def coverage(self, question: str) -> tuple[float, float]:
        """How far the texts hold the question's words, each weighted by its IDF, log((texts + 1) / (held by + 0.5)).

        Returns:
            The share that the best single text holds, and the share that no text holds; 0 and 1 where the question has
            no words but stop words, or there are no texts.
        """
        asked = [word for word in _words([question]).vocab if word]
        if not asked or not self._size:
            return 0.0, 1.0
        held = [self._holders(word) for word in asked]
        weights = [math.log((self._size + 1) / (len(texts) + 0.5)) for texts in held]
        by_text = np.zeros(self._size)
        for weight, texts in zip(weights, held, strict=True):
            by_text[texts] += weight
        missing = sum(weight for weight, texts in zip(weights, held, strict=True) if not len(texts))
        return float(by_text.max()) / sum(weights), missing / sum(weights)

    def _holders(self, word: str) -> NDArray[np.int32]:
        """Numbers of the texts that a word occurs in."""
        if self._index is None or word not in self._index.vocab_dict:
            return np.empty(0, np.int32)
        number, matrix = self._index.vocab_dict[word], self._index.scores
        holders: NDArray[np.int32] = matrix["indices"][matrix["indptr"][number] : matrix["indptr"][number + 1]]
        return holders


def _words(texts: Sequence[str]) -> Any:
    import bm25s

    return bm25s.tokenize(list(texts), token_pattern=_WORD, stopwords="en", show_progress=False, allow_empty=False)

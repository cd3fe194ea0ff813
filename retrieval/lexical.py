"""Search by words: BM25 over a fixed list of texts."""

from __future__ import annotations

import logging
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


def _words(texts: Sequence[str]) -> Any:
    import bm25s

    return bm25s.tokenize(list(texts), token_pattern=_WORD, stopwords="en", show_progress=False, allow_empty=False)

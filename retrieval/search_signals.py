"""What a search of the documents shows before anything is read: how well, and where, they match the question."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 5
"""Passages that rag reads about as many of; the gap and the spread are taken over them."""

SHARPNESS = 20.0
"""Of the softmax that turns cosines into shares. At 20 a passage that is 0.1 less similar weighs a seventh."""


@dataclass(frozen=True, slots=True)
class SearchSignals:
    """The similarity of one question to all segments of its documents, in a few figures.

    Attributes:
        peak: the highest cosine.
        gap: from it to the mean of the best TOP.
        contrast: from it to the median segment.
        passages: natural logarithm of the effective number of passages, exp of the entropy of the shares.
        spread: how far the best TOP lie apart in the documents: mean distance from their middle, 0 to 0.5.
        words: the best segment's share of the question's words, each weighted by how rare it is (IDF).
        missing: share of the question's words, weighted alike, that stand nowhere in the documents.
    """

    peak: float
    gap: float
    contrast: float
    passages: float
    spread: float
    words: float
    missing: float

    def values(self) -> tuple[float, ...]:
        """The figures in the order of the fields."""
        return tuple(asdict(self).values())


SEARCH_SIGNALS = tuple(SearchSignals.__dataclass_fields__)


def measure(cosines: NDArray[np.float32], words: float, missing: float) -> SearchSignals:
    """Signals of one search.

    Args:
        cosines: of every segment with the question, in document order, [segments].
        words, missing: as in SearchSignals.
    """
    ranked = np.argsort(-cosines, kind="stable")
    best = ranked[:TOP]
    peak = float(cosines[best[0]])
    shares = np.exp(SHARPNESS * (cosines - peak))
    shares /= shares.sum()
    entropy = float(-(shares * np.log(np.maximum(shares, 1e-12))).sum())
    places = best / max(len(cosines) - 1, 1)
    return SearchSignals(
        peak=peak,
        gap=peak - float(cosines[best].mean()),
        contrast=peak - float(np.median(cosines)),
        passages=entropy,
        spread=float(np.abs(places - places.mean()).mean()),
        words=words,
        missing=missing,
    )

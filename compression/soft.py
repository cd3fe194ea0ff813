"""Soft tokens of segments: made once, by piece, and kept whatever is asked (CompLLM, arXiv 2509.19228).

The paper compresses on-line and leaves a cache to others. Here a value is that of a segment, whose boundaries its text
defines, so that an edit makes only the segments around it anew; and inside a segment pieces begin with sentences.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from turnout.compression.of_segments import OfSegments
from turnout.compression.sealed import SOFT
from turnout.progress import Watch
from turnout.sentences import sentences

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache, Softens


class SoftTokens(OfSegments):
    """Makes them with an engine, [soft tokens, dimension] of the engine's kind, and keeps them in a cache."""

    what = SOFT
    together = 8

    def __init__(self, engine: Softens, cache: SegmentCache) -> None:
        super().__init__(cache)
        self._engine = engine

    @property
    def made_with(self) -> tuple[str, int]:
        """See `OfSegments.made_with`."""
        kind = self._engine.soft_kind()
        return kind.fingerprint, kind.bytes_each

    def make(self, texts: Sequence[str], watch: Watch) -> Iterator[bytes]:
        """See `OfSegments.make`."""
        cut = [self._pieces(text) for text in texts]
        made = iter(self._engine.soften([piece for pieces in cut for piece in pieces], watch))
        for pieces in cut:
            yield b"".join(next(made) for _ in pieces)

    def _pieces(self, text: str) -> list[list[int]]:
        ids, places = self._engine.placed(text)
        return cut(ids, places, text, self._engine.soft_kind().piece_tokens)


def cut(ids: Sequence[int], places: Sequence[tuple[int, int]], text: str, most: int) -> list[list[int]]:
    """Token ids of a text in pieces, each of one sentence; of a longer sentence only its last piece is shorter than may
    be.

    Args:
        places: characters [start, end) of each token.
        most: tokens of a piece.
    """
    starts = [start for start, _ in sentences(text)]
    pieces: list[list[int]] = []
    before = -1
    for token, (start, end) in zip(ids, places, strict=True):
        # A token may begin with the blank that ends a sentence: it belongs to where its last character stands.
        sentence = bisect_right(starts, max(end - 1, start)) - 1
        if sentence != before or len(pieces[-1]) == most:
            pieces.append([])
        pieces[-1].append(token)
        before = sentence
    return pieces

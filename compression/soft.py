"""Soft tokens of segments: made once, by piece, and kept whatever is asked (CompLLM, arXiv 2509.19228).

The paper compresses on-line and leaves a cache to others. Here a value is that of a segment, whose boundaries its text
defines, so that an edit makes only the segments around it anew; and inside a segment pieces begin with sentences.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from turnout.compression import once
from turnout.compression.sealed import SOFT
from turnout.progress import Watch
from turnout.sentences import sentences
from turnout.types import SegmentKey

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache, Softens
    from turnout.retrieval.corpus import Corpus
    from turnout.types import Segment

TOGETHER = 8
"""Segments whose pieces are made at once: enough to fill a batch, few enough that a claim is renewed in time."""


class SoftTokens:
    """Makes them with an engine, and keeps them in a cache."""

    def __init__(self, engine: Softens, cache: SegmentCache) -> None:
        self._engine = engine
        self._cache = cache

    def missing(self, segments: Sequence[Segment]) -> list[bool]:
        """Whether each segment's would have to be made; nothing is read."""
        return [not there for there in self._cache.has(self._keys(segments))]

    def of(self, corpus: Corpus, watch: Watch | None = None) -> list[bytes]:
        """Those of each segment, [soft tokens, dimension] of the engine's kind.

        Raises:
            Cancelled: the watch said so; what was made until then is kept.
        """
        watch = watch or Watch()
        segments, each = corpus.segments, self._engine.soft_kind().bytes_each

        def make(places: Sequence[int]) -> Iterator[bytes]:
            for begin in range(0, len(places), TOGETHER):
                yield from self._made([corpus.text(segments[i].span) for i in places[begin : begin + TOGETHER]], watch)

        # Damage is seen by the checksum; values of another width would only be of another kind.
        return once.values(self._cache, self._keys(segments), make, lambda place, value: len(value) % each == 0, watch)

    def _made(self, texts: Sequence[str], watch: Watch) -> Iterator[bytes]:
        cut = [self._pieces(text) for text in texts]
        made = iter(self._engine.soften([piece for pieces in cut for piece in pieces], watch))
        for pieces in cut:
            yield b"".join(next(made) for _ in pieces)

    def _pieces(self, text: str) -> list[list[int]]:
        ids, places = self._engine.placed(text)
        return cut(ids, places, text, self._engine.soft_kind().piece_tokens)

    def _keys(self, segments: Sequence[Segment]) -> list[SegmentKey]:
        fingerprint = self._engine.soft_kind().fingerprint
        return [SegmentKey(segment.hash, SOFT, fingerprint) for segment in segments]


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

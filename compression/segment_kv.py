"""Keys and values of segments, each read by itself: made once, whatever is asked (APE, arXiv 2502.05431)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from turnout.compression.of_segments import OfSegments
from turnout.compression.sealed import KV
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.contracts import ReadsParallel, SegmentCache
    from turnout.engines.parallel.kind import ParallelKind
    from turnout.types import Message


class SegmentKv(OfSegments):
    """Makes them with an engine, and keeps them in a cache: much larger values than any other kind.

    Args:
        history: of the question; what a system says in it stands before every segment.
    """

    what = KV
    together = at_once = 4

    def __init__(self, engine: ReadsParallel, cache: SegmentCache, history: Sequence[Message] = ()) -> None:
        super().__init__(cache)
        self._engine, self._history = engine, history

    @cached_property
    def kind(self) -> ParallelKind:
        """What they are."""
        return self._engine.parallel_kind(self._history)

    @property
    def made_with(self) -> tuple[str, int]:
        """See `OfSegments.made_with`."""
        return self.kind.fingerprint, self.kind.token_bytes

    def make(self, texts: Sequence[str], watch: Watch) -> Iterator[bytes]:
        """See `OfSegments.make`."""
        yield from self._engine.read_parallel(texts, self._history, watch)

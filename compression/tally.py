"""What a segment cache counts, by kind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from turnout.compression.sealed import kind_of
from turnout.documents import SegmentKey
from turnout.types import CacheStatistics


class Tally:
    """Hits, misses and evictions of one cache since it was made; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._evicted: Counter[str] = Counter()

    def asked(self, key: SegmentKey, *, found: bool) -> None:
        """Somebody wanted a value."""
        with self._lock:
            (self._hits if found else self._misses)[kind_of(key)] += 1

    def evicted(self, kind: str) -> None:
        """A value had to go."""
        with self._lock:
            self._evicted[kind] += 1

    def kinds(
        self, held: Mapping[str, tuple[int, int]], evicted: Mapping[str, int] | None = None
    ) -> dict[str, CacheStatistics]:
        """Statistics of each kind.

        Args:
            held: (entries, bytes) by kind, now.
            evicted: by kind, where others than this process count them.
        """
        with self._lock:
            gone = self._evicted if evicted is None else evicted
            return {
                kind: CacheStatistics(self._hits[kind], self._misses[kind], gone.get(kind, 0), *held.get(kind, (0, 0)))
                for kind in sorted({*self._hits, *self._misses, *gone, *held})
            }


def together(kinds: Iterable[CacheStatistics]) -> CacheStatistics:
    """The statistics of several kinds as one."""
    rows = [(each.hits, each.misses, each.evicted, each.entries, each.bytes) for each in kinds]
    return CacheStatistics(*map(sum, zip(*rows, strict=True))) if rows else CacheStatistics(0, 0, 0, 0, 0)

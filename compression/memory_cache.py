"""A segment cache in this process's memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from turnout.compression.sealed import BY_SEGMENT, kind_of
from turnout.compression.tally import Tally, together
from turnout.documents import SegmentKey
from turnout.types import CacheStatistics

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache

OVERHEAD = 300
"""Bytes that an entry takes besides its value, about."""


class MemoryCache:
    """Within `limit_bytes`, the least recently used going first; safe to share between threads."""

    def __init__(self, limit_bytes: int = 64 << 20) -> None:
        self.limit_bytes = limit_bytes
        self._values: OrderedDict[SegmentKey, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._tally = Tally()
        self._bytes = 0

    def get(self, key: SegmentKey) -> bytes | None:
        value = self._taken(key)
        self._tally.asked(key, found=value is not None)
        return value

    def get_many(self, keys: Sequence[SegmentKey]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def has(self, keys: Sequence[SegmentKey]) -> list[bool]:
        with self._lock:
            return [key in self._values for key in keys]

    def put(self, key: SegmentKey, value: bytes) -> None:
        if len(value) + OVERHEAD > self.limit_bytes:
            return
        with self._lock:
            before = self._values.pop(key, None)
            if before is not None:
                self._bytes -= len(before) + OVERHEAD
            self._values[key] = value
            self._bytes += len(value) + OVERHEAD
            while self._bytes > self.limit_bytes:
                oldest, dropped = self._values.popitem(last=False)
                self._bytes -= len(dropped) + OVERHEAD
                self._tally.evicted(kind_of(oldest))

    def put_many(self, values: Iterable[tuple[SegmentKey, bytes]]) -> None:
        for key, value in values:
            self.put(key, value)

    def statistics(self) -> CacheStatistics:
        return together(self.kinds().values())

    def kinds(self) -> Mapping[str, CacheStatistics]:
        held: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        with self._lock:
            for key, value in self._values.items():
                entries, size = held[kind_of(key)]
                held[kind_of(key)] = entries + 1, size + len(value) + OVERHEAD
        return self._tally.kinds(held)

    def drop(self, segments: Collection[str]) -> None:
        with self._lock:
            for key in [key for key in self._values if kind_of(key) not in BY_SEGMENT or key.segment in segments]:
                self._bytes -= len(self._values.pop(key)) + OVERHEAD

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def _taken(self, key: SegmentKey) -> bytes | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value


if TYPE_CHECKING:
    _: type[SegmentCache] = MemoryCache

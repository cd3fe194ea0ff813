"""A segment cache in this process's memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from turnout.types import CacheStatistics, SegmentKey

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
        self._bytes = self._hits = self._misses = self._evicted = 0

    def get(self, key: SegmentKey) -> bytes | None:
        with self._lock:
            value = self._values.get(key)
            if value is None:
                self._misses += 1
                return None
            self._hits += 1
            self._values.move_to_end(key)
            return value

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
                _, dropped = self._values.popitem(last=False)
                self._bytes -= len(dropped) + OVERHEAD
                self._evicted += 1

    def statistics(self) -> CacheStatistics:
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._evicted, len(self._values), self._bytes)


if TYPE_CHECKING:
    _: type[SegmentCache] = MemoryCache

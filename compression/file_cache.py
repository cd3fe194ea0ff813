"""A segment cache in a folder: shared by processes, and there after a restart."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.compression.sealed import BY_SEGMENT, HEAD, kind_of, name_of, opened, sealed
from turnout.compression.tally import Tally, together
from turnout.documents import SegmentKey
from turnout.types import CacheStatistics

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache

RESCAN = 256
"""Writes after which the folder's size is looked up again: other processes write there too."""

LOWER = 0.9
"""Share of the limit that is left once room is made, so that not every further write has to make room."""

STALE_S = 3600.0
"""Age from which a file that was never finished is taken for one of a process that is gone."""

_UNSAFE = re.compile(r"[^a-z0-9-]")
_log = logging.getLogger(__name__)


class FileCache:
    """One file for each value, within `limit_bytes` for the folder, the least recently used going first.

    A file appears whole, and names what it is of: one that is damaged, or of another key, counts as not there. Where
    files can't be written, nothing more is kept by this process, and the log says so once.
    """

    def __init__(self, folder: Path, limit_bytes: int = 512 << 20) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._lock = threading.Lock()
        self._tally = Tally()
        self._size: int | None = None
        self._written = 0
        self._failed = False

    def get(self, key: SegmentKey) -> bytes | None:
        file = self._file(key)
        value = self._read(file, key)
        self._tally.asked(key, found=value is not None)
        if value is not None:
            with contextlib.suppress(OSError):  # gone by now, or not ours to touch: it is only less recent then
                os.utime(file)
        return value

    def get_many(self, keys: Sequence[SegmentKey]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def has(self, keys: Sequence[SegmentKey]) -> list[bool]:
        return [self._file(key).is_file() for key in keys]

    def put(self, key: SegmentKey, value: bytes) -> None:
        content = sealed(key, value)
        if self._failed or len(content) > self.limit_bytes:
            return
        file = self._file(key)
        partial = file.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(len(content))
            try:
                partial.write_bytes(content)
                partial.chmod(0o600)
                partial.replace(file)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self._failed = True
            _log.warning("nothing more is kept in %s: %s", self._folder, error)

    def put_many(self, values: Iterable[tuple[SegmentKey, bytes]]) -> None:
        for key, value in values:
            self.put(key, value)

    def statistics(self) -> CacheStatistics:
        return together(self.kinds().values())

    def kinds(self) -> Mapping[str, CacheStatistics]:
        """Reads the folder."""
        held: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for _, size, file in self._files():
            kind = self._kind(file)
            entries, before = held[kind]
            held[kind] = entries + 1, before + size
        return self._tally.kinds(held)

    def segments(self) -> set[str]:
        """The hashes of those that it has something of by their hashes, see `sealed.BY_SEGMENT`."""
        return {_segment(file) for _, _, file in self._files() if self._kind(file) in BY_SEGMENT}

    def drop(self, segments: Collection[str]) -> None:
        """Removes what this process put, and others."""
        for _, _, file in self._files():
            if self._kind(file) not in BY_SEGMENT or _segment(file) in segments:
                file.unlink(missing_ok=True)
        with self._lock:
            self._size = None

    def clear(self) -> None:
        """Removes every value, of this process and of others."""
        for _, _, file in self._files():
            file.unlink(missing_ok=True)
        with self._lock:
            self._size = None

    def _read(self, file: Path, key: SegmentKey) -> bytes | None:
        try:
            content = file.read_bytes()
        except OSError:
            return None
        value = opened(key, content)
        if value is None:
            _log.warning("%s is damaged and made anew", file)
            with contextlib.suppress(OSError):
                file.unlink()
        return value

    def _make_room(self, size: int) -> None:
        with self._lock:
            self._written += 1
            if self._size is not None and self._size + size <= self.limit_bytes and self._written % RESCAN:
                self._size += size
                return
            files = sorted(self._files())
            self._size = size + sum(each for _, each, _ in files)
            if self._size <= self.limit_bytes:
                return
            for _, each, file in files:
                file.unlink(missing_ok=True)
                self._size -= each
                self._tally.evicted(self._kind(file))
                if self._size <= LOWER * self.limit_bytes:
                    return

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """(last used, bytes, file) of each value; what was never finished is removed on the way."""
        for file in self._folder.rglob("*.*"):
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                if file.suffix == ".value":
                    yield stat.st_mtime_ns, stat.st_size, file
                elif file.suffix == ".partial" and stat.st_mtime < time.time() - STALE_S:
                    file.unlink(missing_ok=True)

    def _kind(self, file: Path) -> str:
        return file.relative_to(self._folder).parts[0]

    def _file(self, key: SegmentKey) -> Path:
        segment = _UNSAFE.sub("-", key.segment)
        return self._folder / _UNSAFE.sub("-", kind_of(key)) / segment[:2] / f"{segment}-{name_of(key)[-HEAD:]}.value"


def _segment(file: Path) -> str:
    return file.name.partition("-")[0]


if TYPE_CHECKING:
    _: type[SegmentCache] = FileCache

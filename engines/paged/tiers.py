"""Where keys and values go when the pool has no room for them, or the process ends: host memory and disk.

Both keep blocks: BLOCK tokens of one beginning, named by a hash over everything before and in them. A block says which
tokens it is of, and is only used for those.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from turnout.engines.paged.pages import PAGE

if TYPE_CHECKING:
    import torch

BLOCK = 4 * PAGE
"""Tokens of a block: long enough that a file is read at the disk's speed, short enough to be found again."""

SCHEMA = 2

RESCAN = 64
"""Blocks after which the folder's size is looked up again."""

STALE_S = 3600.0
"""Age from which a file that was never finished is taken for one of a process that is gone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Block:
    """Keys and values of BLOCK tokens, each [layers, BLOCK, heads, dim]."""

    ids: tuple[int, ...]
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.keys.nbytes + self.values.nbytes)

    @property
    def sum(self) -> int:
        """Checksum of keys and values."""
        import torch

        total = 0
        for part in (self.keys, self.values):
            total = zlib.crc32(part.contiguous().view(torch.uint8).numpy().tobytes(), total)
        return total


class Tier(Protocol):
    """Keeps blocks by name, within `limit_bytes`, the least recently used going first."""

    limit_bytes: int

    def has(self, name: str) -> bool: ...

    def touch(self, name: str) -> None:
        """Counts as a use of a block that is here."""

    def get(self, name: str) -> Block | None:
        """None where it is not here or damaged."""

    def put(self, name: str, block: Block) -> None:
        """Keeps a block, or not, where it can't be kept."""


def names(root: str, ids: Sequence[int], grid: int = PAGE) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, tokens) of each whole block of a beginning.

    Args:
        grid: tokens that were computed together, so that a block depends on all of those that it has a part of.
    """
    chain, named = hashlib.sha256(root.encode()), 0
    for begin in range(0, len(ids) - BLOCK + 1, BLOCK):
        end = -(-(begin + BLOCK) // grid) * grid
        if end > len(ids):
            return
        chain.update(array("I", ids[named:end]).tobytes())
        named = end
        name = chain.copy()
        if BLOCK % grid:  # others may depend on the same tokens
            name.update(begin.to_bytes(8, "little"))
        yield name.hexdigest(), tuple(ids[begin : begin + BLOCK])


def resident(tiers: Sequence[Tier], root: str, ids: Sequence[int], tokens: int = 0, grid: int = PAGE) -> int:
    """Tokens of the longest beginning that lies in tiers, of which `tokens` are at hand without them; a multiple of
    `grid`, see `names`."""
    if not tiers:
        return tokens // grid * grid
    for place, (name, _) in enumerate(names(root, ids, grid)):
        end = (place + 1) * BLOCK
        if end > tokens:
            if not any(tier.has(name) for tier in tiers):
                break
            tokens = end
    return tokens // grid * grid


class HostTier:
    """In this process's memory; on a GPU what does not fit there."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._blocks: OrderedDict[str, Block] = OrderedDict()
        self._size = 0

    def has(self, name: str) -> bool:
        return name in self._blocks

    def touch(self, name: str) -> None:
        if name in self._blocks:
            self._blocks.move_to_end(name)

    def get(self, name: str) -> Block | None:
        return self._blocks.get(name)

    def put(self, name: str, block: Block) -> None:
        if name in self._blocks or block.size > self.limit_bytes:
            return
        self._blocks[name] = block
        self._size += block.size
        while self._size > self.limit_bytes:
            _, dropped = self._blocks.popitem(last=False)
            self._size -= dropped.size


class DiskTier:
    """One safetensors file a block, in a folder for each kind of model; shared by processes, and there after a restart.

    A file appears whole. One that can't be read, or whose sum is wrong, counts as not there; where files can't be
    written, nothing more is kept by this process, and the log says so once.

    Args:
        folder: of all kinds; the limit is for all of them together.
        kind: what the blocks are of (model, precision, positions, adapter), a name for a folder.
    """

    def __init__(self, folder: Path, kind: str, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._root, self._kind = folder, kind
        self._folder = folder / kind
        self._written = 0
        self._size: int | None = None
        self._failed = False

    def has(self, name: str) -> bool:
        return self._file(name).is_file() and self._is_ours()

    def touch(self, name: str) -> None:
        now = time.time_ns()  # the system's own idea of now is too coarse to order the blocks of one save
        with contextlib.suppress(OSError):
            os.utime(self._file(name), ns=(now, now))

    def get(self, name: str) -> Block | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self._file(name)
        if not self.has(name):
            return None
        try:
            found = load_file(file)
            block = Block(tuple(found["ids"].tolist()), found["keys"], found["values"])
            if int(found["sum"]) != block.sum:
                raise ValueError("the sum is wrong")
        except FileNotFoundError:  # another process needed the room
            return None
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            _log.warning("%s is damaged and read anew: %s", file, error)
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        return block

    def put(self, name: str, block: Block) -> None:
        from safetensors import SafetensorError

        file = self._file(name)
        if self._failed or block.size > self.limit_bytes or file.is_file():
            return
        try:
            self._prepare()
            self._make_room(block.size)
            self._write(file, block)
            self.touch(name)
        except (OSError, SafetensorError) as error:
            self._failed = True
            _log.warning("what was read is not kept on disk, in %s: %s", self._folder, error)

    def _write(self, file: Path, block: Block) -> None:
        import torch
        from safetensors.torch import save_file

        partial = file.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            whole = {"ids": torch.tensor(block.ids), "sum": torch.tensor(block.sum)}
            save_file({"keys": block.keys, "values": block.values, **whole}, partial)
            partial.chmod(0o600)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            return bool(json.loads(self._manifest.read_text(encoding="utf-8")) == self._wanted)
        except (OSError, ValueError):
            return False

    def _prepare(self) -> None:
        """A folder with our manifest; what another version of this program left in it is removed."""
        if self._is_ours():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self._folder.glob("*.safetensors"):
            file.unlink(missing_ok=True)
        partial = self._manifest.with_suffix(f".{uuid.uuid4().hex}.partial")
        partial.write_text(json.dumps(self._wanted), encoding="utf-8")
        partial.replace(self._manifest)

    @property
    def _manifest(self) -> Path:
        return self._folder / "manifest.json"

    @property
    def _wanted(self) -> dict[str, str | int]:
        return {"schema": SCHEMA, "kind": self._kind, "block": BLOCK}

    def _make_room(self, size: int) -> None:
        """Looks at the folder again only where the limit may be reached: others write there too, but seldom much."""
        self._written += 1
        if self._size is not None and self._size + size <= self.limit_bytes and self._written % RESCAN:
            self._size += size
            return
        files = []
        for file in self._root.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                if file.suffix == ".partial" and stat.st_mtime < time.time() - STALE_S:
                    file.unlink(missing_ok=True)
                elif file.suffix == ".safetensors":
                    files.append((stat.st_mtime_ns, stat.st_size, file))
        self._size = size + sum(bytes_ for _, bytes_, _ in files)
        for _, bytes_, file in sorted(files, key=lambda entry: entry[0]):
            if self._size <= self.limit_bytes:
                return
            file.unlink(missing_ok=True)
            self._size -= bytes_

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

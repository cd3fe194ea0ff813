"""Attention of many queries of one sequence, block by block in plain torch: only what the index names is multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from turnout.kernels.shared import masks
from turnout.kernels.shared.blocked import Run, attend
from turnout.kernels.shared.index import BlockIndex
from turnout.kernels.shared.pages import in_a_row

BLOCK_M = 128
"""Queries of a block where no index sets it."""


def attn_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: BlockIndex | None = None,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int,
    causal: bool = True,
    window: int | torch.Tensor | None = None,
    sink: int = 0,
    block_table: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_prefill`."""
    queries, heads, _ = q.shape
    group = heads // k.shape[1]
    windows = masks.windows_of(window, heads, q.device).tolist()
    sees = _Sees(kv_len, causal, sink)
    # Torch's kernel for CPUs takes all queries at once, if none has a window.
    most = queries if min(windows) >= kv_len and q.device.type == "cpu" else BLOCK_M
    step = most if index is None else index.block_m
    keys, values = (_by_head(in_a_row(t, block_table, kv_len), 1 if index is None else index.block_n) for t in (k, v))
    lists = None if index is None else _Lists(index)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    kind = torch.promote_types(q.dtype, torch.float32)
    lse = torch.empty(heads, queries, dtype=kind, device=q.device)
    for together in _alike(windows, group, group if index is None else heads // index.heads):
        key, value = keys[together.start // group], values[together.start // group]
        width = windows[together.start]
        for block, begin in enumerate(range(0, queries, step)):
            rows = slice(begin, min(begin + step, queries))
            at = torch.arange(q_start + rows.start, q_start + rows.stop, device=q.device)
            if lists is None or index is None:
                runs = _near(key, value, at, width, sees)
            else:
                runs = lists.runs(key, value, at, width, sees, together.start // (heads // index.heads), block)
            output, lse[together, rows] = attend(q[rows, together].transpose(0, 1), runs, scale)
            out[rows, together] = output.transpose(0, 1).to(out.dtype)
    return out, lse


class _Sees(NamedTuple):
    """What a query sees but for windows and lists."""

    kv_len: int
    causal: bool
    sink: int

    def hidden(self, at: torch.Tensor, places: torch.Tensor, window: int) -> torch.Tensor:
        """bool [queries, keys]"""
        windows = torch.tensor([window], device=at.device)
        return ~masks.visible(at, places, windows, kv_len=self.kv_len, causal=self.causal, sink=self.sink)[0]


class _Lists:
    """The tiles that an index names, as runs of keys."""

    def __init__(self, index: BlockIndex) -> None:
        self._index = index
        self._bounds, self._full = index.indptr.tolist(), index.n_full.tolist()
        self._ids, self._numbers = index.indices.long(), index.indices.tolist()
        # The diagonal is the same for most heads.
        self._hidden: dict[tuple[int, ...], torch.Tensor] = {}

    def runs(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        at: torch.Tensor,
        window: int,
        sees: _Sees,
        head: int,
        block: int,
    ) -> Iterator[Run]:
        """The tiles that need no mask, then the others."""
        row = head * self._index.blocks + block
        begin, end = self._bounds[row], self._bounds[row + 1]
        masked = begin + self._full[row]
        if masked > begin:
            yield Run(*self._taken(keys, values, slice(begin, masked)))
        if end > masked:
            name = (block, window, *self._numbers[masked:end])
            if name not in self._hidden:
                size = self._index.block_n
                places = self._ids[masked:end, None] * size + torch.arange(size, device=at.device)
                self._hidden[name] = sees.hidden(at, places.flatten(), window)
            yield Run(*self._taken(keys, values, slice(masked, end)), self._hidden[name])

    def _taken(self, keys: torch.Tensor, values: torch.Tensor, those: slice) -> tuple[torch.Tensor, torch.Tensor]:
        size, dim = self._index.block_n, keys.shape[1]
        ids, first = self._ids[those], self._numbers[those.start]
        if those.stop - those.start == 1:
            run = slice(first * size, (first + 1) * size)
            return keys[run], values[run]
        return keys.view(-1, size * dim)[ids].view(-1, dim), values.view(-1, size * dim)[ids].view(-1, dim)


def _by_head(rows: torch.Tensor, multiple: int) -> torch.Tensor:
    """[heads, tokens, dim], the tokens filled up with zeros to a multiple."""
    padded = -(-len(rows) // multiple) * multiple
    copy = torch.zeros(rows.shape[1], padded, rows.shape[2], dtype=rows.dtype, device=rows.device)
    copy[:, : len(rows)] = rows.transpose(0, 1)
    return copy


def _alike(windows: list[int], group: int, shared: int) -> Iterator[slice]:
    """Heads that share keys, list and window, one slice of them after the other."""
    begin = 0
    for head in range(1, len(windows) + 1):
        edge = head == len(windows) or head % group == 0 or head % shared == 0
        if edge or windows[head] != windows[begin]:
            yield slice(begin, head)
            begin = head


def _near(keys: torch.Tensor, values: torch.Tensor, at: torch.Tensor, window: int, sees: _Sees) -> Iterator[Run]:
    """The first keys, up to `sink`, and the window before the block's queries `at`."""
    first, last = int(at[0]), int(at[-1])
    end = min(last + 1, sees.kv_len) if sees.causal else sees.kv_len
    low = min(max(first + 1 - window, 0), end)
    clear = min(max(last + 1 - window, low), end)  # from here on in the window of every query
    whole = max(min(first + 1, sees.kv_len) if sees.causal else sees.kv_len, clear)

    def run(begin: int, stop: int, masked: bool) -> Iterator[Run]:
        if begin < stop:
            places = torch.arange(begin, stop, device=at.device)
            yield Run(keys[begin:stop], values[begin:stop], sees.hidden(at, places, window) if masked else None)

    if sees.causal and not clear:
        yield from run(0, first, masked=False)
        yield Run(keys[first:end], values[first:end], causal=True)
        return
    # Sinks before the window lie before every query of the block.
    yield from run(0, min(sees.sink, low), masked=False)
    yield from run(low, clear, masked=True)
    yield from run(clear, whole, masked=False)
    yield from run(whole, end, masked=True)

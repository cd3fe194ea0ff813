"""Attention along vertical and slash lines, block by block in plain torch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from turnout.kernels.shared.blocked import Run, attend
from turnout.kernels.vs_prefill.index import VsIndex

LONG = 2048
"""Keys in a row that are multiplied where they lie; shorter runs are copied together."""


def vs_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: VsIndex,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_prefill`."""
    queries, heads, _ = q.shape
    group = heads // k.shape[1]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    kind = torch.promote_types(q.dtype, torch.float32)
    lse = torch.empty(heads, queries, dtype=kind, device=q.device)
    keys, values = (tensor[:kv_len].transpose(0, 1).contiguous() for tensor in (k, v))
    for head in range(heads):
        spans = _spans(index, head)
        columns = index.cols[head, : int(index.n_cols[head])].long()
        for begin in range(0, queries, index.block_m):
            rows = slice(begin, min(begin + index.block_m, queries))
            first = q_start + begin
            at = torch.arange(first, q_start + rows.stop, device=q.device)
            apart = columns[(columns < q_start + rows.stop) & (columns < kv_len)]
            apart = apart[index.cov[head, first - apart + index.slack] == 0]
            runs = _runs(keys[head // group], values[head // group], spans, apart, at, kv_len)
            output, sums = attend(q[rows, head][None], runs, scale)
            out[rows, head], lse[head, rows] = output[0].to(out.dtype), sums[0]
    return out, lse


def _spans(index: VsIndex, head: int) -> list[list[int]]:
    """Tiles that touch, taken together: begin and end, keys after a block's first query."""
    spans: list[list[int]] = []
    for tile in index.rel[head, : int(index.n_rel[head])].tolist():
        if spans and spans[-1][1] == -tile:
            spans[-1][1] += index.block_n
        else:
            spans.append([-tile, index.block_n - tile])
    return spans


def _runs(
    keys: torch.Tensor, values: torch.Tensor, spans: list[list[int]], apart: torch.Tensor, at: torch.Tensor, kv_len: int
) -> Iterator[Run]:
    """Long runs as they lie, the others together, and what only some queries see last."""
    first, end = int(at[0]), min(int(at[-1]) + 1, kv_len)
    short: list[slice] = []
    later: list[torch.Tensor] = [apart[apart > first]]
    for begin, stop in spans:
        run = slice(max(first + begin, 0), min(first + stop, first + 1))
        if run.stop - run.start >= LONG:
            yield Run(keys[run], values[run])
        elif run.stop > run.start:
            short.append(run)
        later.append(
            torch.arange(max(first + begin, first + 1), max(min(first + stop, end), first + 1), device=at.device)
        )
    seen = apart[apart <= first]
    if short or len(seen):
        together = [torch.cat([*(tensor[run] for run in short), tensor[seen]]) for tensor in (keys, values)]
        yield Run(together[0], together[1])
    places = torch.cat(later)
    if len(places):
        yield Run(keys[places], values[places], places > at[:, None])

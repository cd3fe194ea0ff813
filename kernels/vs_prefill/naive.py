"""Attention along vertical and slash lines, the mask written out: the truth that the kernel is held to."""

from __future__ import annotations

import torch

from turnout.kernels.shared import masks
from turnout.kernels.vs_prefill.index import VsIndex


def vs_prefill(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, index: VsIndex, *, scale: float, q_start: int = 0, kv_len: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_prefill`; computes in the query's precision, float64 if that is what it gets."""
    queries, heads, _ = q.shape
    shown = torch.zeros(heads, queries, kv_len, dtype=torch.bool, device=q.device)
    for head in range(heads):
        columns = index.cols[head, : int(index.n_cols[head])].long()
        shown[head, :, columns[columns < kv_len]] = True
        for tile in index.rel[head, : int(index.n_rel[head])].tolist():
            for row in range(queries):
                begin = q_start + row // index.block_m * index.block_m - tile
                shown[head, row, max(begin, 0) : max(begin + index.block_n, 0)] = True
    rows = q_start + torch.arange(queries, device=q.device)
    shown &= torch.arange(kv_len, device=q.device) <= rows[:, None]
    return masks.attention(q, k[:kv_len], v[:kv_len], shown, scale)

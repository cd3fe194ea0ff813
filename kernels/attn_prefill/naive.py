"""Attention of many queries of one sequence, in plain torch: the truth that the kernel is held to."""

from __future__ import annotations

import torch

from turnout.kernels.shared import masks
from turnout.kernels.shared.index import BlockIndex
from turnout.kernels.shared.pages import in_a_row


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
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_prefill`; computes in the query's precision, float64 if that is what it gets."""
    queries, heads, _ = q.shape
    rows = q_start + torch.arange(queries, device=q.device)
    windows = masks.windows_of(window, heads, q.device)
    keys = torch.arange(kv_len, device=q.device)
    shown = masks.visible(rows, keys, windows, kv_len=kv_len, causal=causal, sink=sink)
    if index is not None:
        shown = shown & masks.listed(index, heads, queries, kv_len)
    return masks.attention(q, in_a_row(k, block_table, kv_len), in_a_row(v, block_table, kv_len), shown, scale)

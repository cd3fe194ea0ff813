"""Attention to the first tokens and a window, the mask written out: the truth that the kernel is held to."""

from __future__ import annotations

import torch

from turnout.kernels.shared import masks


def streaming(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    windows: torch.Tensor,
    *,
    scale: float,
    sink: int,
    q_start: int,
    kv_len: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.streaming`; computes in the query's precision, float64 if that is what it gets."""
    queries, heads, _ = q.shape
    shown = torch.zeros(heads, queries, kv_len, dtype=torch.bool, device=q.device)
    for head, window in enumerate(windows.tolist()):
        for query in range(queries):
            newest = q_start + query
            shown[head, query, : min(sink, newest + 1)] = True
            shown[head, query, max(newest + 1 - window, 0) : newest + 1] = True
    return masks.attention(q, k[:kv_len], v[:kv_len], shown, scale)

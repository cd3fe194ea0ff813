"""Attention to the first tokens and a window: `attn_prefill`'s kernel, whose tiles are arithmetic here, no lists."""

from __future__ import annotations

import torch

from turnout.kernels.attn_prefill.triton import attn_prefill


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
    out: torch.Tensor | None = None,
    block: tuple[int, int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.streaming`."""
    return attn_prefill(
        q, k, v, scale=scale, q_start=q_start, kv_len=kv_len, window=windows, sink=sink, out=out, block=block
    )

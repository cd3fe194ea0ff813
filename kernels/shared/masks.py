"""Which keys a query sees, written out: for the truth that kernels are held to."""

from __future__ import annotations

import torch

from turnout.kernels.shared.index import BlockIndex

EVERYTHING = 2**31 - 1
"""A window that hides nothing."""


def windows_of(window: int | torch.Tensor | None, heads: int, device: torch.device) -> torch.Tensor:
    """int32 [heads]"""
    if isinstance(window, torch.Tensor):
        return window
    wide = EVERYTHING if window is None else min(window, EVERYTHING)
    return torch.full((heads,), wide, dtype=torch.int32, device=device)


def visible(
    rows: torch.Tensor, keys: torch.Tensor, windows: torch.Tensor, *, kv_len: int, causal: bool, sink: int
) -> torch.Tensor:
    """bool [windows, rows, keys]: keys below kv_len, not after the query if causal, and among its last `window` tokens
    (itself one of them) or the first `sink` ones.

    Args:
        rows, keys: int64 positions.
        windows: int [windows], tokens.
    """
    behind = rows[:, None] - keys
    near = (behind[None] < windows.to(behind.dtype)[:, None, None]) | (keys < sink)
    shown = near & (keys < kv_len)
    return shown & (behind >= 0) if causal else shown


def listed(index: BlockIndex, heads: int, queries: int, kv_len: int) -> torch.Tensor:
    """bool [heads, queries, kv_len]: what lies in the index's tiles."""
    tiles = index.mask(-(-kv_len // index.block_n)).repeat_interleave(heads // index.heads, 0)
    spread = tiles.repeat_interleave(index.block_m, 1).repeat_interleave(index.block_n, 2)
    return spread[:, :queries, :kv_len]


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, shown: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over what is shown, in the query's precision.

    Args:
        q: [queries, query heads, dim]; k, v: [keys, key heads, dim]; shown: bool [query heads, queries, keys].

    Returns:
        output like q, and lse [query heads, queries], natural; 0 and -inf for a query that sees nothing.
    """
    group = q.shape[1] // k.shape[1]
    key, value = (tensor.to(q.dtype).repeat_interleave(group, 1) for tensor in (k, v))
    scores = torch.einsum("thd,nhd->htn", q, key).to(torch.promote_types(q.dtype, torch.float32)) * scale
    scores = scores.masked_fill(~shown, -torch.inf)
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - lse.masked_fill(lse.isinf(), 0)[..., None])
    # A key that nobody sees may be no number; times a weight of 0 it would stay none.
    value = value.masked_fill(~shown.any(1).any(0)[:, None, None], 0)
    return torch.einsum("htn,nhd->thd", weights.to(q.dtype), value), lse

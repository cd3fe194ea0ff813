"""Attention of a few newest tokens over pages, in plain torch: the truth that the kernel is held to."""

from __future__ import annotations

import torch


def attn_decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    scale: float,
    page: int,
    window: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_decode`; computes in the query's precision, float64 if that is what it gets."""
    batch, rows, heads, dim = query.shape
    group = heads // keys.shape[1]
    output = torch.zeros(batch, rows, heads, dim, dtype=query.dtype, device=query.device)
    sums = torch.full((batch, rows, heads), -torch.inf, dtype=torch.float32, device=query.device)
    for item in range(batch):
        length = int(seq_lens[item])
        at = torch.arange(length, device=query.device)
        slots = block_table[item].long()[at // page] * page + at % page
        key = keys[slots].repeat_interleave(group, 1).to(query.dtype)
        value = values[slots].repeat_interleave(group, 1).to(query.dtype)
        for row in range(rows):
            newest = length - rows + row
            first = 0 if window is None else max(newest + 1 - window, 0)
            if newest < first:
                continue
            scores = torch.einsum("hd,khd->hk", query[item, row], key[first : newest + 1]) * scale
            weights = torch.softmax(scores, -1)
            output[item, row] = torch.einsum("hk,khd->hd", weights, value[first : newest + 1])
            sums[item, row] = torch.logsumexp(scores, -1).float()
    return output, sums

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
    page_ids: torch.Tensor | None = None,
    tree_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_decode`; computes in the query's precision, float64 if that is what it gets."""
    batch, rows, heads, dim = query.shape
    keys, values = by_page(keys, page), by_page(values, page)
    kv_heads = keys.shape[2]
    group = heads // kv_heads
    output = torch.zeros(batch, rows, heads, dim, dtype=query.dtype, device=query.device)
    sums = torch.full((batch, rows, heads), -torch.inf, dtype=torch.float32, device=query.device)
    for item in range(batch):
        length = int(seq_lens[item])
        for kv_head in range(kv_heads):
            at = torch.arange(length, device=query.device)
            if page_ids is not None:
                at = at[torch.isin(at // page, page_ids[item, kv_head])]
            pages = block_table[item].long()[at // page]
            key, value = (pool[pages, at % page, kv_head].to(query.dtype) for pool in (keys, values))
            own = slice(kv_head * group, (kv_head + 1) * group)
            for row in range(rows):
                place = length - rows + row
                seen = at <= place
                if tree_mask is not None:
                    drafted = (at - (length - rows)).clamp(min=0)
                    seen = (at < length - rows) | (int(tree_mask[item, row]) >> drafted & 1 == 1)
                if window is not None:
                    seen = seen & (at > place - window)
                if not bool(seen.any()):
                    continue
                scores = query[item, row, own] @ key[seen].T * scale
                output[item, row, own] = torch.softmax(scores, -1) @ value[seen]
                sums[item, row, own] = torch.logsumexp(scores, -1).float()
    return output, sums


def by_page(pool: torch.Tensor, page: int) -> torch.Tensor:
    """[pages, tokens, heads, dim] of a pool that is so already, or [slots, heads, dim]."""
    return pool if pool.dim() == 4 else pool[: len(pool) // page * page].view(-1, page, *pool.shape[1:])

"""Attention of a few newest tokens over pages, one sequence after the other, all its heads at once, in plain torch."""

from __future__ import annotations

import torch

from turnout.kernels.attn_decode.naive import by_page


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
    """See `api.attn_decode`."""
    batch, rows, heads, dim = query.shape
    pools = by_page(keys, page), by_page(values, page)
    kv_heads = pools[0].shape[2]
    kind = torch.promote_types(query.dtype, torch.float32)
    output = torch.zeros(batch, rows, heads, dim, dtype=query.dtype, device=query.device)
    sums = torch.full((batch, rows, heads), -torch.inf, dtype=torch.float32, device=query.device)
    every_head = torch.arange(kv_heads, device=query.device)[:, None]
    within = torch.arange(page, device=query.device)
    for item, length in enumerate(seq_lens.tolist()):
        if not length:
            continue
        table = block_table[item, : -(-length // page)].long()
        if page_ids is None:
            logical = torch.arange(len(table), device=query.device)[None]
            key, value = (pool[table].flatten(0, 1).transpose(0, 1) for pool in pools)
        else:
            logical = page_ids[item].long()
            known = table[logical.clamp(0, len(table) - 1)]
            key, value = (pool[known, :, every_head].flatten(1, 2) for pool in pools)
        at = (logical[..., None] * page + within).flatten(1)
        hidden = _hidden(at, length, rows, window, None if tree_mask is None else tree_mask[item])
        # What no token holds may be no number, and a weight of 0 would not make it one.
        empty = (at >= length) | (at < 0)
        value = value.to(kind).masked_fill(empty[..., None], 0)
        row = query[item].transpose(0, 1).reshape(kv_heads, -1, dim).to(kind) * scale
        scores = (row @ key.to(kind).transpose(1, 2)).view(kv_heads, -1, rows, at.shape[1])
        scores = scores.masked_fill(hidden[:, None], -torch.inf)
        found = torch.logsumexp(scores, -1)
        weights = torch.exp(scores - found.masked_fill(found == -torch.inf, 0)[..., None])
        result = weights.flatten(1, 2) @ value
        output[item] = result.view(heads, rows, dim).transpose(0, 1).to(query.dtype)
        sums[item] = found.view(heads, rows).T
    return output, sums


def _hidden(at: torch.Tensor, length: int, rows: int, window: int | None, tree: torch.Tensor | None) -> torch.Tensor:
    """bool [lists, rows, keys]: what a row does not see of the positions `at` [lists, keys]."""
    place = torch.arange(length - rows, length, device=at.device)[:, None]
    at = at[:, None]
    hidden = (at >= length) | (at < 0)
    if tree is None:
        hidden = hidden | (at > place)
    else:
        drafted = (at - (length - rows)).clamp(0, 63)
        hidden = hidden | ((at >= length - rows) & (tree[:, None] >> drafted & 1 == 0))
    return hidden if window is None else hidden | (at <= place - window)

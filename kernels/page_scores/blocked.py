"""Bounds of the scores of pages as two matrix products, and the pages with the highest ones."""

from __future__ import annotations

import torch

from turnout.kernels.kv_write.naive import SUB_PAGE


def page_scores(
    q: torch.Tensor, stats: torch.Tensor, block_table: torch.Tensor, seq_lens: torch.Tensor
) -> torch.Tensor:
    """See `api.page_scores`: the sum of max(q most, q least) is relu(q) most - relu(-q) least."""
    items, _, dim = q.shape
    pages, kv_heads, subs = stats.shape[:3]
    kind = torch.promote_types(q.dtype, torch.float32)
    query = q.to(kind).view(items, kv_heads, -1, dim)
    query = torch.cat([query.clamp(max=0), query.clamp(min=0)], -1)
    width = block_table.shape[1]
    ends = (torch.arange(width * subs, device=q.device) * SUB_PAGE).view(width, subs)
    held = ends < seq_lens[:, None, None]
    table = block_table.long().clamp(0, pages - 1)
    # Least and most of a sub-page follow each other, as the query's two halves do.
    bounds = stats[table].to(kind).flatten(4).permute(0, 2, 1, 3, 4).flatten(2, 3)
    scores = (bounds @ query.transpose(2, 3)).amax(-1).view(items, kv_heads, width, subs)
    return scores.masked_fill(~held[:, None], -torch.inf).amax(-1)


def select_pages(
    scores: torch.Tensor, seq_lens: torch.Tensor, *, page: int, budget: int, first: int = 1, last: int = 2
) -> torch.Tensor:
    """See `api.select_pages`; nothing here waits for the device."""
    width = scores.shape[2]
    at = torch.arange(width, device=scores.device)
    count = ((seq_lens + page - 1) // page)[:, None, None]
    forced = (at < first) | (at >= count - last)
    ranked = scores.float().masked_fill(forced, torch.inf).masked_fill(at >= count, -torch.inf)
    ids = ranked.sort(dim=-1, descending=True, stable=True).indices[..., :budget]
    ids = ids.masked_fill(ids >= count, width).sort(-1).values
    ids = ids.masked_fill(ids == width, -1).int()
    return torch.nn.functional.pad(ids, (0, budget - ids.shape[2]), value=-1)

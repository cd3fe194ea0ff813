"""Bounds of the scores of pages, number by number: the truth that the kernel is held to."""

from __future__ import annotations

import math

import torch

from turnout.kernels.kv_write.naive import SUB_PAGE


def page_scores(
    q: torch.Tensor, stats: torch.Tensor, block_table: torch.Tensor, seq_lens: torch.Tensor
) -> torch.Tensor:
    """See `api.page_scores`; computes in the query's precision, float64 if that is what it gets."""
    items, heads, _ = q.shape
    _, kv_heads, subs = stats.shape[:3]
    group = heads // kv_heads
    kind = torch.promote_types(q.dtype, torch.float32)
    scores = torch.full((items, kv_heads, block_table.shape[1]), -math.inf, dtype=kind, device=q.device)
    for item in range(items):
        for at in range(-(-int(seq_lens[item]) // SUB_PAGE)):
            page, sub = at // subs, at % subs
            least, most = stats[int(block_table[item, page]), :, sub].to(kind).unbind(1)
            for head in range(heads):
                own = head // group
                query = q[item, head].to(kind)
                bound = torch.maximum(query * most[own], query * least[own]).sum()
                scores[item, own, page] = torch.maximum(scores[item, own, page], bound)
    return scores


def select_pages(
    scores: torch.Tensor, seq_lens: torch.Tensor, *, page: int, budget: int, first: int = 1, last: int = 2
) -> torch.Tensor:
    """See `api.select_pages`."""
    items, heads, width = scores.shape
    chosen = torch.full((items, heads, budget), -1, dtype=torch.int32, device=scores.device)
    for item in range(items):
        count = min(-(-int(seq_lens[item]) // page), width)
        forced = set(range(min(first, count))) | set(range(max(count - last, 0), count))
        for head in range(heads):
            row = scores[item, head].tolist()
            rest = sorted(set(range(count)) - forced, key=lambda at: (-row[at], at))
            ids = sorted([*forced, *rest[: budget - len(forced)]])
            chosen[item, head, : len(ids)] = torch.tensor(ids, dtype=torch.int32)
    return chosen

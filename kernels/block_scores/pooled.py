"""Scores of blocks from the means of their queries and keys: cheap, and blind to single tokens."""

from __future__ import annotations

import torch


def pooled_scores(q: torch.Tensor, k: torch.Tensor, *, scale: float, block: int, q_start: int = 0) -> torch.Tensor:
    """See `api.pooled_scores`; a pass over the memory and one small product, on every device."""
    queries, heads, _ = q.shape
    kind = torch.promote_types(q.dtype, torch.float32)
    rows, columns = _means(q, block, kind), _means(k, block, kind)
    columns = columns.repeat_interleave(heads // k.shape[1], 0)
    scores = rows @ columns.transpose(1, 2) * scale
    newest = (torch.arange(rows.shape[1], device=q.device) + 1) * block + q_start - 1
    newest = newest.clamp(max=q_start + queries - 1)
    hidden = torch.arange(columns.shape[1], device=q.device) * block > newest[:, None]
    return torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)


def _means(tokens: torch.Tensor, block: int, kind: torch.dtype) -> torch.Tensor:
    """[heads, blocks, dim]"""
    length, heads, dim = tokens.shape
    blocks = -(-length // block)
    filled = torch.zeros(blocks * block, heads, dim, dtype=kind, device=tokens.device)
    filled[:length] = tokens
    counts = (length - torch.arange(blocks, device=tokens.device) * block).clamp(max=block)
    return (filled.view(blocks, block, heads, dim).sum(1) / counts[:, None, None]).transpose(0, 1)

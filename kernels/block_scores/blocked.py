"""Antidiagonal sums of scores as matrix products over copies whose rows are strides of tokens."""

from __future__ import annotations

import math

import torch

ROWS = 128
"""Reduced rows of a product."""


def block_scores(
    q: torch.Tensor, k: torch.Tensor, *, scale: float, stride: int, block: int, q_start: int = 0
) -> torch.Tensor:
    """See `api.block_scores`."""
    queries, heads, dim = q.shape
    keys, kv_heads = len(k), k.shape[1]
    per_block = block // stride
    kind = torch.promote_types(q.dtype, torch.float32)
    blocks = -(-keys // block)
    columns = _strides(k, stride, blocks * per_block)
    rows = _strides(q, stride, -(-queries // stride)).flip(2).flatten(2)
    columns = columns.flatten(2)
    part = torch.full((heads, rows.shape[1], blocks), -torch.inf, dtype=kind, device=q.device)
    real = -(-keys // stride)
    for begin in range(0, rows.shape[1], ROWS):
        at = torch.arange(begin, min(begin + ROWS, rows.shape[1]), device=q.device)
        newest = at + q_start // stride
        seen = min(int(newest[-1]) // per_block + 1, blocks)
        place = torch.arange(seen * per_block, device=q.device)
        hidden = (place > newest[:, None]) | (place >= real)
        those = rows[:, begin : begin + ROWS].reshape(kv_heads, -1, stride * dim)
        scores = (those @ columns[:, : seen * per_block].transpose(1, 2)).to(kind)
        scores = scores.view(heads, len(at), -1).mul_(scale / stride / math.log(2)).masked_fill_(hidden, -torch.inf)
        scores = scores.view(heads, len(at), seen, per_block)
        most = scores.amax(-1)
        base = most.masked_fill(most == -torch.inf, 0)
        part[:, at, :seen] = base + torch.exp2(scores - base[..., None]).sum(-1).log2_()
    return part


def _strides(tokens: torch.Tensor, stride: int, count: int) -> torch.Tensor:
    """[heads, count, stride, dim], filled up with zeros."""
    length, heads, dim = tokens.shape
    copy = torch.zeros(heads, count * stride, dim, dtype=tokens.dtype, device=tokens.device)
    copy[:, :length] = tokens.transpose(0, 1)
    if tokens.dtype == torch.float16:
        copy = copy.float()  # long sums overflow
    return copy.view(heads, count, stride, dim)

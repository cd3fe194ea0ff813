"""Antidiagonal sums of scores, tile by tile: the truth that the kernel is held to."""

from __future__ import annotations

import math

import torch


def block_scores(
    q: torch.Tensor, k: torch.Tensor, *, scale: float, stride: int, block: int, q_start: int = 0
) -> torch.Tensor:
    """See `api.block_scores`; computes in the query's precision, float64 if that is what it gets."""
    queries, heads, _ = q.shape
    keys, group = len(k), heads // k.shape[1]
    rows, columns = -(-queries // stride), -(-keys // stride)
    scores = torch.einsum("thd,nhd->htn", q, k.repeat_interleave(group, 1).to(q.dtype)) * (scale / stride)
    tiles = torch.zeros(heads, rows * stride, columns * stride, dtype=q.dtype, device=q.device)
    tiles[:, :queries, :keys] = scores
    tiles = tiles.view(heads, rows, stride, columns, stride).transpose(2, 3)
    sums = sum(tiles[..., stride - 1 - step, step] for step in range(stride))
    assert isinstance(sums, torch.Tensor)  # noqa: S101 - sum() may give 0, of no strides
    part = torch.full((heads, rows, -(-keys // block)), -torch.inf, dtype=q.dtype, device=q.device)
    per_block = block // stride
    for row in range(rows):
        for at in range(part.shape[2]):
            end = min((at + 1) * per_block, columns, row + q_start // stride + 1)
            if end > at * per_block:
                part[:, row, at] = torch.logsumexp(sums[:, row, at * per_block : end], -1) / math.log(2)
    return part

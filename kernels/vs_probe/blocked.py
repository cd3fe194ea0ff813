"""Attention mass of a few queries by key and by distance, one key head at a time."""

from __future__ import annotations

import torch


def vs_probe(
    q_probe: torch.Tensor, probe_pos: torch.Tensor, k: torch.Tensor, *, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_probe`."""
    rows, heads, dim = q_probe.shape
    group = heads // k.shape[1]
    kind = torch.promote_types(q_probe.dtype, torch.float32)
    columns = torch.empty(heads, len(k), dtype=kind, device=k.device)
    diagonals = torch.zeros_like(columns)
    hidden = torch.arange(len(k), device=k.device) > probe_pos[:, None]
    for kv_head in range(k.shape[1]):
        own = slice(kv_head * group, (kv_head + 1) * group)
        query = (q_probe[:, own].transpose(0, 1).to(kind) * scale).reshape(group * rows, dim)
        scores = (query @ k[:, kv_head].to(kind).T).view(group, rows, -1).masked_fill_(hidden, -torch.inf)
        weights = torch.softmax(scores, -1)
        torch.sum(weights, 1, out=columns[own])
        for row, position in enumerate(probe_pos.tolist()):
            diagonals[own, : position + 1] += weights[:, row, : position + 1].flip(1)
    return columns, diagonals

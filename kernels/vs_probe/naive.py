"""Attention mass of a few queries by key and by distance: the truth that the kernel is held to."""

from __future__ import annotations

import torch


def vs_probe(
    q_probe: torch.Tensor, probe_pos: torch.Tensor, k: torch.Tensor, *, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_probe`; computes in the query's precision, float64 if that is what it gets."""
    heads, group = q_probe.shape[1], q_probe.shape[1] // k.shape[1]
    columns = torch.zeros(heads, len(k), dtype=q_probe.dtype, device=k.device)
    diagonals = torch.zeros_like(columns)
    for head in range(heads):
        for row, position in enumerate(probe_pos.tolist()):
            weights = torch.softmax(k[: position + 1, head // group].to(q_probe.dtype) @ q_probe[row, head] * scale, 0)
            columns[head, : position + 1] += weights
            diagonals[head, : position + 1] += weights.flip(0)
    return columns, diagonals

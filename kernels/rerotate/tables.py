"""Cosines and sines of the angles to turn by."""

from __future__ import annotations

import torch


def tables(delta: torch.Tensor | int, inv_freq: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [tokens or 1, pairs] each; angles in float64, as float32 is off by 0.06 after a million tokens."""
    moved = torch.as_tensor(delta, device=inv_freq.device).reshape(-1, 1).double()
    angles = moved * inv_freq.double()
    return angles.cos().float(), angles.sin().float()

"""Keys moved to other positions, pair by pair of numbers: the truth that the kernel is held to."""

from __future__ import annotations

import torch


def rerotate(k: torch.Tensor, delta: torch.Tensor | int, inv_freq: torch.Tensor, layout: str = "half") -> torch.Tensor:
    """See `api.rerotate`; computes in float64."""
    moved = torch.as_tensor(delta, device=k.device).expand(len(k)).double()
    result = k.double().clone()
    half = len(inv_freq)
    for pair in range(half):
        angle = moved * inv_freq[pair].double()
        first, second = (pair, pair + half) if layout == "half" else (2 * pair, 2 * pair + 1)
        a, b = k[..., first].double(), k[..., second].double()
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        result[..., first], result[..., second] = a * cos - b * sin, b * cos + a * sin
    return result if k.dtype == torch.float64 else result.to(k.dtype)

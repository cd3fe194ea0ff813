"""Keys moved to other positions, all at once in plain torch."""

from __future__ import annotations

import torch

from turnout.kernels.rerotate.tables import tables


def rerotate(k: torch.Tensor, delta: torch.Tensor | int, inv_freq: torch.Tensor, layout: str = "half") -> torch.Tensor:
    """See `api.rerotate`."""
    cos, sin = (table[:, None] for table in tables(delta, inv_freq))
    half = len(inv_freq)
    kind = torch.promote_types(k.dtype, torch.float32)
    result = k.clone()
    if layout == "half":
        firsts, seconds = slice(0, half), slice(half, 2 * half)
    else:
        firsts, seconds = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    a, b = k[..., firsts].to(kind), k[..., seconds].to(kind)
    result[..., firsts] = (a * cos - b * sin).to(k.dtype)
    result[..., seconds] = (b * cos + a * sin).to(k.dtype)
    return result

"""Keys that carry rotary positions, moved to other positions."""

from __future__ import annotations

import torch

from turnout.kernels.rerotate import blocked
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong

OP = "rerotate"
LAYOUTS = ("half", "interleaved")


def rerotate(k: torch.Tensor, delta: torch.Tensor | int, inv_freq: torch.Tensor, layout: str = "half") -> torch.Tensor:
    """Turns each key by `delta` positions more: R(delta) R(position) = R(position + delta), with one set of frequencies
    (RoFormer, Su et al. 2021). It does not hold where they depend on the length (dynamic NTK); YaRN's attention factor
    is a multiplier and stays.

    Turn from the original key each time: results rounded to bfloat16 and turned again add up their errors.

    Args:
        k: [tokens, key heads, dim].
        delta: positions, int32 [tokens], or one for all.
        inv_freq: float32 [pairs], radians a token; 2 * pairs of the dim turn, the others stay.
        layout: "half": a pair is numbers i and i + pairs (Llama); "interleaved": numbers 2 i and 2 i + 1 (GPT-J).

    Returns:
        new keys like k, computed in float32.

    Raises:
        KernelError: shapes, strides, types or places do not fit together.
    """
    if k.dim() != 3 or k.shape[2] % 2:
        raise wrong(OP, f"k {tuple(k.shape)} is not [tokens, heads, dim] of an even dim")
    if inv_freq.dim() != 1 or not 1 <= len(inv_freq) <= k.shape[2] // 2:
        raise wrong(
            OP, f"inv_freq {tuple(inv_freq.shape)} has not 1 to {k.shape[2] // 2} pairs of {k.shape[2]} numbers"
        )
    if layout not in LAYOUTS:
        raise wrong(OP, f"{layout!r} is no layout: {' or '.join(LAYOUTS)}")
    checks.floats(OP, k=k)
    checks.integers(OP, torch.float32, inv_freq=inv_freq)
    moved = delta if isinstance(delta, torch.Tensor) else None
    checks.integers(OP, torch.int32, delta=moved)
    checks.places(OP, k=k, inv_freq=inv_freq, delta=moved)
    if moved is not None and moved.shape != k.shape[:1]:
        raise wrong(OP, f"delta {tuple(moved.shape)} is not of {len(k)} tokens")
    if k.device.type == "cuda":
        from turnout.kernels.rerotate import triton

        return triton.rerotate(k, delta, inv_freq, layout)
    return blocked.rerotate(k, delta, inv_freq, layout)

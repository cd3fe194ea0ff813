"""Keys moved to other positions: one program per few tokens and head."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.rerotate.tables import tables

TOKENS = 16
"""Tokens of a program."""


@triton.jit
def _turn(
    k, cos, sin, result, tokens, stride_k, stride_k_head, stride_table,
    HALF: tl.constexpr, PAIRS: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """result [tokens, heads, DIM].

    Args:
        stride_table: 0 where one angle turns all tokens.
        HALF: pairs that turn; PAIRS: the power of two over DIM / 2.
        TOGETHER: a pair's numbers lie side by side, not half a head apart.
    """
    head, heads = tl.program_id(1), tl.num_programs(1)
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    pair = tl.arange(0, PAIRS)
    real = (token < tokens)[:, None] & (pair < DIM // 2)[None]
    turned = real & (pair < HALF)[None]
    if TOGETHER:
        first, second = 2 * pair, 2 * pair + 1
    else:
        # Numbers that do not turn come after all pairs, two by two.
        first = tl.where(pair < HALF, pair, 2 * pair)
        second = tl.where(pair < HALF, pair + HALF, 2 * pair + 1)
    source = k + token[:, None] * stride_k + head * stride_k_head
    a = tl.load(source + first[None], mask=real, other=0.0).to(tl.float32)
    b = tl.load(source + second[None], mask=real, other=0.0).to(tl.float32)
    angle = token[:, None] * stride_table + pair[None]
    c = tl.load(cos + angle, mask=turned, other=1.0)
    s = tl.load(sin + angle, mask=turned, other=0.0)
    target = result + (token[:, None] * heads + head) * DIM
    tl.store(target + first[None], (a * c - b * s).to(result.dtype.element_ty), mask=real)
    tl.store(target + second[None], (b * c + a * s).to(result.dtype.element_ty), mask=real)


def config() -> dict[str, int]:
    return {"num_warps": 4}


def rerotate(k: torch.Tensor, delta: torch.Tensor | int, inv_freq: torch.Tensor, layout: str = "half") -> torch.Tensor:
    """See `api.rerotate`."""
    tokens, heads, dim = k.shape
    cos, sin = tables(delta, inv_freq)
    result = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    if tokens:
        _turn[(-(-tokens // TOKENS), heads)](
            k, cos, sin, result, tokens, k.stride(0), k.stride(1), cos.stride(0) if len(cos) == tokens else 0,
            HALF=len(inv_freq), PAIRS=1 << (dim // 2 - 1).bit_length(), DIM=dim, TOKENS=TOKENS,
            TOGETHER=layout == "interleaved", **config(),
        )  # fmt: skip
    return result

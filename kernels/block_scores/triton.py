"""Antidiagonal sums of scores without a copy: one matrix product whose inner length is a stride of tokens times the
heads' size, and whose epilogue sums up the softmax of each block.

TMA reads the tokens as [stride, tokens / stride, heads * dim]; the reversed order of the queries within a stride is
then just another coordinate. Tiles above the diagonal multiply nothing.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from turnout.kernels.shared.triton import LOG2_E, product

NEIGHBOURS = 8
"""Row tiles that run side by side over the same column tiles, which they find in the cache."""


@triton.jit
def _scores(
    q, k, part, scale, rows, columns, blocks, offset,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, STRIDE: tl.constexpr, PER_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """part [HEADS, rows, blocks], base 2.

    Args:
        rows, columns: strides of queries and of keys; offset: strides before the first query.
        PER_BLOCK: columns of a block.
    """
    program, head = tl.program_id(0), tl.program_id(1)
    tiles_m, tiles_n = tl.cdiv(rows, BLOCK_M), tl.cdiv(columns, BLOCK_N)
    tile_m, tile_n = tl.swizzle2d(program // tiles_n, program % tiles_n, tiles_m, tiles_n, 8)
    first, start = tile_m * BLOCK_M, tile_n * BLOCK_N
    steps: tl.constexpr = DIM // BLOCK_K
    below = start <= first + BLOCK_M - 1 + offset
    scores = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for at in range(tl.where(below, STRIDE * steps, 0)):
        token, inner = at // steps, at % steps * BLOCK_K
        left = q.load([STRIDE - 1 - token, first, head * DIM + inner]).reshape(BLOCK_M, BLOCK_K)
        right = k.load([token, start, head // GROUP * DIM + inner]).reshape(BLOCK_N, BLOCK_K)
        scores += product(left, tl.trans(right), UPCAST)
    row, column = first + tl.arange(0, BLOCK_M), start + tl.arange(0, BLOCK_N)
    shown = (column[None] <= row[:, None] + offset) & (column < columns)[None]
    scores = tl.where(shown, scores * scale, -float("inf"))
    parts = tl.reshape(scores, [BLOCK_M, BLOCK_N // PER_BLOCK, PER_BLOCK])
    most = tl.max(parts, 2)
    seen = most > -float("inf")
    base = tl.where(seen, most, 0.0)
    total = tl.sum(tl.exp2(parts - base[:, :, None]), 2)
    found = tl.where(seen, base + tl.log2(tl.where(seen, total, 1.0)), -float("inf"))
    block = start // PER_BLOCK + tl.arange(0, BLOCK_N // PER_BLOCK)
    place = (head * rows + row).to(tl.int64)[:, None] * blocks + block[None]
    tl.store(part + place, found.to(part.dtype.element_ty), mask=(row < rows)[:, None] & (block < blocks)[None])


def config() -> dict[str, int]:
    """Launch options for tiles of 128 by 128 strides, 64 numbers deep, that fit sm_90 twice."""
    return {"num_warps": 8, "num_stages": 3}


def block_scores(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    scale: float,
    stride: int,
    block: int,
    q_start: int = 0,
    dtype: torch.dtype = torch.float32,
    tile: int = 128,
    interpreted: bool = False,
) -> torch.Tensor:
    """See `api.block_scores`.

    Args:
        tile: strides of a tile's edge, a multiple of those of a block.
    """
    queries, heads, dim = q.shape
    rows, columns, blocks = -(-queries // stride), -(-len(k) // stride), -(-len(k) // block)
    part = torch.empty(heads, rows, blocks, dtype=dtype, device=q.device)
    deep = min(dim, 64)
    _scores[(-(-rows // tile) * -(-columns // tile), heads)](
        _described(q, stride, tile, deep), _described(k, stride, tile, deep), part,
        scale / stride * LOG2_E, rows, columns, blocks, q_start // stride,
        HEADS=heads, GROUP=heads // k.shape[1], DIM=dim, STRIDE=stride, PER_BLOCK=block // stride,
        BLOCK_M=tile, BLOCK_N=tile, BLOCK_K=deep, UPCAST=interpreted, **config(),
    )  # fmt: skip
    return part


def _described(tokens: torch.Tensor, stride: int, tile: int, deep: int) -> Any:
    """[stride, tokens / stride, heads * dim]; copies only where the tokens do not fill the last stride."""
    missing = -len(tokens) % stride
    if missing or tokens.stride(1) != tokens.shape[2]:
        tokens = torch.nn.functional.pad(tokens, (0, 0, 0, 0, 0, missing)).contiguous()
    step = tokens.stride(0)
    shape = [stride, len(tokens) // stride, tokens.shape[1] * tokens.shape[2]]
    return TensorDescriptor(tokens, shape, [step, stride * step, 1], [1, tile, deep])

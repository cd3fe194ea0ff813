"""Attention mass of a few queries by key and by distance, in three passes without atomics, so that sums come in one
order: softmax sums of parts of the keys, then the weights of each tile of keys and their column sums, then sums of the
weights along diagonals. Softmax is in base 2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.attn_prefill.triton import described
from turnout.kernels.shared.triton import LOG2_E, product

BLOCK_N = 128
MOST_SCRATCH = 1 << 30
"""Bytes of weights kept between the passes; more heads than fit take turns."""


@triton.jit
def _lse(
    q, k, positions, part, scale, rows, keys, first_head,
    GROUP: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """part [heads, parts, ROWS]: log2 of the softmax sums over each part of the keys."""
    head, at, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    each = tl.cdiv(tl.cdiv(keys, BLOCK_N), parts)
    row = tl.arange(0, ROWS)
    position = tl.load(positions + row, mask=row < rows, other=-1)
    tile = q.load([first_head + head, 0, 0]).reshape(ROWS, DIM)
    most = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for index in range(at * each, tl.minimum((at + 1) * each, tl.cdiv(keys, BLOCK_N))):
        key = k.load([(first_head + head) // GROUP, index * BLOCK_N, 0]).reshape(BLOCK_N, DIM)
        place = index * BLOCK_N + tl.arange(0, BLOCK_N)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        scores = tl.where(place[None] <= position[:, None], scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        base = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * tl.exp2(most - base) + tl.sum(tl.exp2(scores - base[:, None]), 1)
        most = higher
    seen = total > 0
    found = tl.where(seen, most + tl.log2(tl.where(seen, total, 1.0)), -float("inf"))
    tl.store(part + (head * parts + at) * ROWS + row, found)


@triton.jit
def _weights(
    q, k, positions, part, weights, columns, scale, rows, keys, first_head,
    GROUP: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK_N: tl.constexpr, PARTS: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """weights [heads, rows, keys] and columns [all heads, keys], their sums over the rows."""
    head, index = tl.program_id(0), tl.program_id(1)
    row, place = tl.arange(0, ROWS), index * BLOCK_N + tl.arange(0, BLOCK_N)
    position = tl.load(positions + row, mask=row < rows, other=-1)
    found = tl.load(part + (head * PARTS + tl.arange(0, PARTS))[:, None] * ROWS + row[None])
    most = tl.max(found, 0)
    base = tl.where(most == -float("inf"), 0.0, most)
    # Rows that do not exist see nothing: any sum but 0 does.
    lse = base + tl.log2(tl.where(row < rows, tl.sum(tl.exp2(found - base[None]), 0), 1.0))
    tile = q.load([first_head + head, 0, 0]).reshape(ROWS, DIM)
    key = k.load([(first_head + head) // GROUP, index * BLOCK_N, 0]).reshape(BLOCK_N, DIM)
    scores = product(tile, tl.trans(key), UPCAST) * scale
    shown = (place[None] <= position[:, None]) & (place < keys)[None]
    share = tl.where(shown, tl.exp2(scores - lse[:, None]), 0.0)
    target = weights + (head * rows + row).to(tl.int64)[:, None] * keys + place[None]
    tl.store(target, share.to(weights.dtype.element_ty), mask=(row < rows)[:, None] & (place < keys)[None])
    tl.store(columns + (first_head + head).to(tl.int64) * keys + place, tl.sum(share, 0), mask=place < keys)


@triton.jit
def _diagonals(weights, positions, diagonals, rows, keys, first_head, BLOCK_N: tl.constexpr):
    """diagonals [all heads, keys]: sums of the weights of keys that lie equally far back."""
    head, index = tl.program_id(0), tl.program_id(1)
    back = index * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.zeros([BLOCK_N], tl.float32)
    for row in range(rows):
        place = tl.load(positions + row) - back
        source = weights + (head * rows + row).to(tl.int64) * keys + place
        total += tl.load(source, mask=(place >= 0) & (place < keys), other=0.0).to(tl.float32)
    tl.store(diagonals + (first_head + head).to(tl.int64) * keys + back, total, mask=back < keys)


def tile_rows(rows: int) -> int:
    """Rows of a tile: matrix instructions want 16 or more, a power of two."""
    return max(16, 1 << (rows - 1).bit_length())


def config(rows: int) -> dict[str, int]:
    """Launch options that fit the registers and shared memory of sm_90."""
    return {"num_warps": 4 if rows <= 64 else 8, "num_stages": 2}


def vs_probe(
    q_probe: torch.Tensor,
    probe_pos: torch.Tensor,
    k: torch.Tensor,
    *,
    scale: float,
    parts: int = 8,
    scratch: torch.dtype = torch.bfloat16,
    most_scratch: int = MOST_SCRATCH,
    block_n: int = BLOCK_N,
    interpreted: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_probe`.

    Args:
        parts: programs that share a head's keys in the first pass, a power of two.
        scratch: type of the weights between the passes; most_scratch: bytes of them.
    """
    rows, heads, dim = q_probe.shape
    keys = len(k)
    padded = tile_rows(rows)
    columns, diagonals = (torch.empty(heads, keys, dtype=torch.float32, device=k.device) for _ in "cd")
    step = max(min(heads, most_scratch // (rows * keys * scratch.itemsize)), 1)
    weights = torch.empty(step, rows, keys, dtype=scratch, device=k.device)
    part = torch.empty(step, parts, padded, dtype=torch.float32, device=k.device)
    query, key = described(q_probe.transpose(0, 1), padded), described(k.transpose(0, 1), block_n)
    shape = {"GROUP": heads // k.shape[1], "DIM": dim, "ROWS": padded, "BLOCK_N": block_n, "UPCAST": interpreted}
    tiles = -(-keys // block_n)
    for first in range(0, heads, step):
        count = min(step, heads - first)
        sizes = scale * LOG2_E, rows, keys, first
        _lse[(count, parts)](query, key, probe_pos, part, *sizes, **shape, **config(padded))
        _weights[(count, tiles)](
            query, key, probe_pos, part, weights, columns, *sizes, PARTS=parts, **shape, **config(padded)
        )
        _diagonals[(count, tiles)](weights, probe_pos, diagonals, rows, keys, first, BLOCK_N=block_n, num_warps=4)
    return columns, diagonals

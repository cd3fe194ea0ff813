"""Lists of tiles out of scores without sorting: a histogram of each row's scores gives the least that is taken, and a
second kernel writes the ids of what is chosen."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.select_blocks import blocked
from turnout.kernels.select_blocks.rules import BINS, PER_OCTAVE, Grid, Rule
from turnout.kernels.shared.checks import wrong
from turnout.kernels.shared.index import MOST, BlockIndex, tiles_seen

CHUNK = 128


@triton.jit
def _mass(scores, values, chosen, blocks, tiles, BINS: tl.constexpr, PER_OCTAVE: tl.constexpr, CHUNK: tl.constexpr):
    """chosen int8 [rows, tiles]: the fewest whole bins of scores that hold values [rows / blocks] of the row's mass."""
    row = tl.program_id(0).to(tl.int64)
    value = tl.load(values + row // blocks)
    inner, numbers = tl.arange(0, CHUNK), tl.arange(0, BINS)
    most = 0.0
    for start in range(0, tiles, CHUNK):
        found = tl.load(scores + row * tiles + start + inner, mask=start + inner < tiles, other=0.0)
        most = tl.maximum(most, tl.max(found, 0))
    highest = tl.log2(tl.where(most > 0, most, 1.0))
    masses = tl.zeros([BINS], tl.float32)
    for start in range(0, tiles, CHUNK):
        found = tl.load(scores + row * tiles + start + inner, mask=start + inner < tiles, other=0.0)
        found = tl.maximum(found, 0.0)
        below = (highest - tl.log2(tl.where(found > 0, found, 1.0))) * PER_OCTAVE
        bins = tl.minimum(tl.maximum(tl.floor(below), 0.0), BINS - 1).to(tl.int32)
        masses += tl.sum(tl.where(bins[:, None] == numbers[None], found[:, None], 0.0), 0)
    total = tl.sum(masses, 0)
    before = tl.cumsum(masses, 0) - masses
    last = tl.max(tl.where((before < value * total) & (masses > 0), numbers, -1), 0)
    for start in range(0, tiles, CHUNK):
        real = start + inner < tiles
        found = tl.load(scores + row * tiles + start + inner, mask=real, other=0.0)
        below = (highest - tl.log2(tl.where(found > 0, found, 1.0))) * PER_OCTAVE
        bins = tl.minimum(tl.maximum(tl.floor(below), 0.0), BINS - 1).to(tl.int32)
        taken = (found > 0) & (bins <= last)
        tl.store(chosen + row * tiles + start + inner, taken.to(tl.int8), mask=real)


@triton.jit
def _write(chosen, indptr, indices, tiles, CHUNK: tl.constexpr):
    """indices: the tiles of chosen int8 [rows, tiles] that are not 0, row after row, ascending."""
    row = tl.program_id(0).to(tl.int64)
    inner = tl.arange(0, CHUNK)
    at = tl.load(indptr + row)
    for start in range(0, tiles, CHUNK):
        taken = tl.load(chosen + row * tiles + start + inner, mask=start + inner < tiles, other=0).to(tl.int32)
        place = at + tl.cumsum(taken, 0) - taken
        tl.store(indices + place, start + inner, mask=taken > 0)
        at += tl.sum(taken, 0)


def config() -> dict[str, int]:
    return {"num_warps": 4}


def select_blocks(scores: torch.Tensor, rule: Rule, grid: Grid) -> BlockIndex:
    """See `api.select_blocks`."""
    heads, blocks, tiles = scores.shape
    if rule.name == "mass" and rule.histogram:
        own = blocked.unseen_left_out(scores, grid).contiguous()
        values = torch.tensor(rule.value, dtype=torch.float32, device=scores.device).expand(heads).contiguous()
        taken = torch.empty(scores.shape, dtype=torch.int8, device=scores.device)
        _mass[(heads * blocks,)](
            own, values, taken, blocks, tiles, BINS=BINS, PER_OCTAVE=PER_OCTAVE, CHUNK=CHUNK, **config()
        )
        chosen = taken.bool() | (values >= 1)[:, None, None]
    else:
        chosen = blocked.by_rule(scores, rule, grid)
    return written(blocked.forced(chosen, scores, rule, grid), grid)


def written(chosen: torch.Tensor, grid: Grid) -> BlockIndex:
    """As `index.from_mask`; waits for the device once, for how many there are.

    Raises:
        KernelError: there are more tiles than int32 counts.
    """
    heads, blocks, tiles = chosen.shape
    whole, seen = tiles_seen(
        blocks, grid.block_m, grid.block_n, queries=grid.queries, q_start=grid.q_start, kv_len=grid.kv_len,
        causal=grid.causal, device=str(chosen.device),
    )  # fmt: skip
    at = torch.arange(tiles, device=chosen.device)
    chosen = chosen & (at < seen[:, None])
    indptr = torch.zeros(heads * blocks + 1, dtype=torch.int64, device=chosen.device)
    torch.cumsum(chosen.sum(-1).flatten(), 0, out=indptr[1:])
    count = int(indptr[-1])
    if count >= MOST:
        raise wrong("select_blocks", f"{count} chosen tiles are too many for one call: take the queries in parts")
    indices = torch.empty(count, dtype=torch.int32, device=chosen.device)
    _write[(heads * blocks,)](chosen.to(torch.int8), indptr, indices, tiles, CHUNK=CHUNK, **config())
    full = (chosen & (at < whole[:, None])).sum(-1).flatten()
    return BlockIndex(indptr.int(), indices, full.int(), grid.block_m, grid.block_n, heads)

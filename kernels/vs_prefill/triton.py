"""Attention along vertical and slash lines with an index that all blocks of queries share: one program per block and
head.

Slash tiles are read by TMA wherever they begin, before the first key too, where it gives zeros. The columns' keys and
values are gathered once per head, so that they are dense tiles as well; a byte for each distance says which columns a
slash tile holds already. Softmax is in base 2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.attn_prefill.triton import described
from turnout.kernels.shared.triton import LOG2_E, product, softmax_end, softmax_step
from turnout.kernels.vs_prefill.index import VsIndex


@triton.jit
def _lines(
    q, k, v, k_columns, v_columns, rel, cols, cov, bounds, out, lse,
    scale, queries, kv_len, q_start, blocks, most_rel, most_cols, reach, stride_out, stride_out_head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, DIM: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    """out [queries, HEADS, DIM] and lse [HEADS, queries], natural.

    Args:
        bounds: int32 [HEADS, blocks, 5]: the first tile that holds keys, the first and the end of those that need no
            mask, the end of all tiles, and how many columns are not after the block.
        reach: bytes of a head in cov.
    """
    program = tl.program_id(0)
    head = program // (blocks * GROUP) * GROUP + program % GROUP
    block = blocks - 1 - program % (blocks * GROUP) // GROUP
    first = q_start + block * BLOCK_M
    row = bounds + (head * blocks + block).to(tl.int64) * 5
    begin, clear, whole = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    end, columns = tl.load(row + 3), tl.load(row + 4)
    tile = q.load([head, block * BLOCK_M, 0]).reshape(BLOCK_M, DIM)
    rows = first + tl.arange(0, BLOCK_M)
    places = tl.arange(0, BLOCK_N)
    most = tl.full([BLOCK_M], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    output = tl.zeros([BLOCK_M, DIM], tl.float32)
    own = rel + head.to(tl.int64) * most_rel
    for at in range(clear, whole):
        start = first - tl.load(own + at)
        key = k.load([head // GROUP, start, 0]).reshape(BLOCK_N, DIM)
        value = v.load([head // GROUP, start, 0]).reshape(BLOCK_N, DIM)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        most, total, output = softmax_step(scores, value, most, total, output, UPCAST)
    # Those that reach before the first key, then those that reach past the diagonal.
    for at in range(begin, clear + end - whole):
        start = first - tl.load(own + tl.where(at < clear, at, at - clear + whole))
        key = k.load([head // GROUP, start, 0]).reshape(BLOCK_N, DIM)
        value = v.load([head // GROUP, start, 0]).reshape(BLOCK_N, DIM)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        keys = start + places
        shown = ((keys >= 0) & (keys < kv_len))[None] & (keys[None] <= rows[:, None])
        scores = tl.where(shown, scores, -float("inf"))
        most, total, output = softmax_step(scores, value, most, total, output, UPCAST)
    for start in range(0, columns, BLOCK_N):
        key = k_columns.load([head, start, 0]).reshape(BLOCK_N, DIM)
        value = v_columns.load([head, start, 0]).reshape(BLOCK_N, DIM)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        real = start + places < columns
        keys = tl.load(cols + head.to(tl.int64) * most_cols + start + places, mask=real, other=0)
        place = first - keys + BLOCK_M + BLOCK_N
        # A column out of range reads nothing and counts as seen.
        inside = real & (keys >= 0) & (keys < kv_len) & (place >= 0) & (place < reach)
        taken = tl.load(cov + head.to(tl.int64) * reach + place, mask=inside, other=1)
        shown = (inside & (taken == 0))[None] & (keys[None] <= rows[:, None])
        scores = tl.where(shown, scores, -float("inf"))
        most, total, output = softmax_step(scores, value, most, total, output, UPCAST)
    output, found = softmax_end(most, total, output)
    at = block * BLOCK_M + tl.arange(0, BLOCK_M)
    real = at < queries
    target = out + at.to(tl.int64)[:, None] * stride_out + head * stride_out_head + tl.arange(0, DIM)[None]
    tl.store(target, output.to(out.dtype.element_ty), mask=real[:, None])
    tl.store(lse + head.to(tl.int64) * queries + at, found, mask=real)


def config(block_m: int, dim: int) -> dict[str, int]:
    """Launch options that fit the registers and shared memory of sm_90 for numbers of two bytes."""
    wide = block_m >= 128
    return {"num_warps": 8 if wide else 4, "num_stages": 3 if wide and dim <= 128 else 2}


def vs_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: VsIndex,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int,
    out: torch.Tensor | None = None,
    interpreted: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.vs_prefill`."""
    queries, heads, dim = q.shape
    group = heads // k.shape[1]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    lse = torch.empty(heads, queries, dtype=torch.float32, device=q.device)
    blocks = -(-queries // index.block_m)
    kv_heads = (torch.arange(heads, device=q.device) // group)[:, None]
    columns = index.cols.long().clamp(0, kv_len - 1)
    gathered = [described(tensor[columns, kv_heads], index.block_n) for tensor in (k, v)]
    keys, values = (described(tensor[:kv_len].transpose(0, 1), index.block_n) for tensor in (k, v))
    _lines[(blocks * heads,)](
        described(q.transpose(0, 1), index.block_m), keys, values, *gathered, index.rel, index.cols, index.cov,
        _bounds(index, blocks, q_start), out, lse,
        scale * LOG2_E, queries, kv_len, q_start, blocks, index.rel.shape[1], index.cols.shape[1], index.cov.shape[1],
        out.stride(0), out.stride(1),
        HEADS=heads, GROUP=group, DIM=dim, BLOCK_M=index.block_m, BLOCK_N=index.block_n, UPCAST=interpreted,
        **config(index.block_m, dim),
    )  # fmt: skip
    return out, lse


def _bounds(index: VsIndex, blocks: int, q_start: int) -> torch.Tensor:
    """Where loops begin and end; see `_lines`."""
    device = index.rel.device
    heads = len(index.rel)
    first = (q_start + torch.arange(blocks, device=device, dtype=torch.int32) * index.block_m).expand(heads, -1)
    real = torch.arange(index.rel.shape[1], device=device) < index.n_rel[:, None]
    # Ascending, what is not real after everything.
    starts = (-index.rel).masked_fill(~real, 2**31 - 1).contiguous()
    begin = torch.searchsorted(starts, 1 - index.block_n - first.contiguous())
    clear = torch.searchsorted(starts, -first.contiguous())
    near = torch.full((heads, 1), 1 - index.block_n, dtype=torch.int32, device=device)
    whole = torch.searchsorted(starts, near, right=True).expand(-1, blocks)
    end = index.n_rel[:, None].expand(-1, blocks)
    real = torch.arange(index.cols.shape[1], device=device) < index.n_cols[:, None]
    columns = torch.searchsorted(
        index.cols.masked_fill(~real, 2**31 - 1).contiguous(), (first + index.block_m).contiguous()
    )
    clear = torch.maximum(clear, begin)
    return torch.stack([begin, clear, torch.maximum(whole, clear), end, columns], -1).int().contiguous()

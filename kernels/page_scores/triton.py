"""Bounds of the scores of pages: one program per sequence, key head and some pages. The sum of max(q most, q least) is
relu(q) most - relu(-q) least, two matrix products with all query heads of the key head."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.kv_write.naive import SUB_PAGE
from turnout.kernels.shared.triton import product


@triton.jit
def _bounds(
    q, stats, tables, lengths, scores, width, count, stride_item, stride_head, stride_table,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, SUBS: tl.constexpr,
    SUB: tl.constexpr, PAGES: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """scores float32 [items, KV_HEADS, width].

    Args:
        stats: [count, KV_HEADS, SUBS, 2, DIM], minimum then maximum of the keys of SUB tokens.
        ROWS: GROUP, rounded up to what a tile can be.
    """
    item, head = tl.program_id(0), tl.program_id(1)
    at = tl.program_id(2) * PAGES + tl.arange(0, PAGES)
    length = tl.load(lengths + item)
    rows, dims = tl.arange(0, ROWS), tl.arange(0, DIM)
    source = item.to(tl.int64) * stride_item + (head * GROUP + rows) * stride_head
    tile = tl.load(q + source[:, None] + dims[None], mask=(rows < GROUP)[:, None], other=0.0)
    up, down = tl.trans(tl.maximum(tile, 0.0)), tl.trans(tl.minimum(tile, 0.0))
    page = tl.load(tables + item.to(tl.int64) * stride_table + at, mask=at < width, other=-1).to(tl.int64)
    real = (page >= 0) & (page < count)
    highest = tl.full([PAGES], -float("inf"), tl.float32)
    for sub in range(SUBS):
        held = real & ((at * SUBS + sub) * SUB < length)
        place = ((page * KV_HEADS + head) * SUBS + sub)[:, None] * (2 * DIM) + dims[None]
        least = tl.load(stats + place, mask=held[:, None], other=0.0)
        most = tl.load(stats + place + DIM, mask=held[:, None], other=0.0)
        bound = product(most, up.to(most.dtype) if not UPCAST else up, UPCAST)
        bound += product(least, down.to(least.dtype) if not UPCAST else down, UPCAST)
        bound = tl.max(tl.where((rows < GROUP)[None], bound, -float("inf")), 1)
        highest = tl.maximum(highest, tl.where(held, bound, -float("inf")))
    target = (item * KV_HEADS + head).to(tl.int64) * width + at
    tl.store(scores + target, highest, mask=at < width)


def tile_rows(group: int) -> int:
    """Query heads of a tile: matrix instructions want 16 or more, a power of two."""
    return max(16, 1 << (group - 1).bit_length())


def tile_pages(rows: int, dim: int, upcast: bool) -> int:
    """Pages of a program: fewer where queries are many or of four bytes, so that tiles fit shared memory and registers
    of sm_90."""
    return 16 if upcast or rows * dim > 1 << 14 else 64


def config(rows: int, upcast: bool) -> dict[str, int]:
    return {"num_warps": 8 if upcast and rows >= 64 else 4, "num_stages": 2}


def page_scores(
    q: torch.Tensor,
    stats: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    pages: int | None = None,
    interpreted: bool = False,
) -> torch.Tensor:
    """See `api.page_scores`.

    Args:
        pages: of a program, a power of two; see `tile_pages`.
    """
    items, heads, dim = q.shape
    count, kv_heads, subs = stats.shape[:3]
    width = block_table.shape[1]
    scores = torch.empty(items, kv_heads, width, dtype=torch.float32, device=q.device)
    rows = tile_rows(heads // kv_heads)
    # A query of another type would be rounded to the statistics', and the bound with it.
    upcast = interpreted or q.dtype != stats.dtype
    pages = pages or tile_pages(rows, dim, upcast)
    _bounds[(items, kv_heads, -(-width // pages))](
        q, stats, block_table, seq_lens, scores, width, count, q.stride(0), q.stride(1), block_table.stride(0),
        KV_HEADS=kv_heads, GROUP=heads // kv_heads, ROWS=rows, DIM=dim, SUBS=subs, SUB=SUB_PAGE, PAGES=pages,
        UPCAST=upcast, **config(rows, upcast),
    )  # fmt: skip
    return scores

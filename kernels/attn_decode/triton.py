"""Split-KV attention of a few newest tokens over pages (FlashDecoding): programs of one sequence, one key head and one
part of the keys each, whose partial results a second kernel merges.

The query heads of a key head are rows of one tile, so keys and values are read once. Softmax is in base 2, scale times
log2(e); the logarithm of the sums leaves the kernel natural. How many parts there are depends on the shapes alone, so
both kernels can be captured in a CUDA graph: lengths and tables are read on the device.
"""

from __future__ import annotations

from functools import partial as partial_

import torch
import triton
import triton.language as tl

from turnout.kernels.attn_decode.naive import by_page

LOG2_E = 1.4426950408889634


@triton.jit
def _partial(
    query, keys, values, tables, lengths, chosen, tree, partial, sums,
    scale, window, width, listed, count,
    stride_item, stride_row, stride_head, stride_page, stride_slot, stride_kv_head, stride_table,
    NEWEST: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr,
    WINDOWED: tl.constexpr, SELECTED: tl.constexpr, TREE: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """partial [items, kv heads, parts, ROWS, DIM] and sums [items, kv heads, parts, ROWS], float32, base 2.

    Args:
        chosen: int32 [items, kv heads, listed], the sequence's pages that are read, where SELECTED.
        tree: int64 [items, NEWEST], bit c of row r: whether it sees newest token c, where TREE.
        width: pages of a table; count: pages of the pool. What is out of range is not read.
        NEWEST: query tokens of a sequence; ROWS: NEWEST * GROUP, rounded up to what a tile can be.
        UPCAST: multiply in float32, for the interpreter, whose products in bfloat16 are wrong.
    """
    item, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    heads, parts = tl.num_programs(1), tl.num_programs(2)
    length = tl.minimum(tl.load(lengths + item), width * PAGE)
    pages = listed if SELECTED else tl.cdiv(length, PAGE)
    each = tl.cdiv(pages, parts)
    first = part * each
    last = tl.minimum(first + each, pages)
    rows, dims, places = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, PAGE)
    newest = rows // GROUP
    real = newest < NEWEST
    source = item.to(tl.int64) * stride_item + newest * stride_row + (head * GROUP + rows % GROUP) * stride_head
    tile = tl.load(query + source[:, None] + dims[None], mask=real[:, None], other=0.0)
    position = length - NEWEST + newest
    if TREE:
        bits = tl.load(tree + item * NEWEST + newest, mask=real, other=0)
    if WINDOWED and not SELECTED:
        first = tl.maximum(first, tl.maximum(length - NEWEST + 1 - window, 0) // PAGE)
    most = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    output = tl.zeros([ROWS, DIM], tl.float32)
    for index in range(first, last):
        logical = tl.load(chosen + (item * heads + head).to(tl.int64) * listed + index) if SELECTED else index
        there = (logical >= 0) & (logical * PAGE < length)
        page = tl.load(tables + item.to(tl.int64) * stride_table + logical, mask=there, other=-1).to(tl.int64)
        at = tl.where((page >= 0) & (page < count), logical * PAGE, -PAGE) + places
        inside = (at >= 0) & (at < length)
        where = page * stride_page + places * stride_slot
        where = where[:, None] + head * stride_kv_head + dims[None]
        key = tl.load(keys + where, mask=inside[:, None], other=0.0)
        value = tl.load(values + where, mask=inside[:, None], other=0.0)
        if UPCAST:
            scores = tl.dot(tile.to(tl.float32), tl.trans(key.to(tl.float32)), input_precision="ieee") * scale
        else:
            scores = tl.dot(tile, tl.trans(key), input_precision="ieee") * scale
        if TREE:
            drafted = at - (length - NEWEST)
            bit = bits[:, None] >> tl.minimum(tl.maximum(drafted, 0), 63).to(tl.int64)[None] & 1
            visible = inside[None] & ((drafted < 0)[None] | (bit == 1)) & real[:, None]
        else:
            visible = inside[None] & (at[None] <= position[:, None]) & real[:, None]
        if WINDOWED:
            visible = visible & (at[None] > position[:, None] - window)
        scores = tl.where(visible, scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        # A row that has seen nothing yet: -inf minus -inf is no number.
        base = tl.where(higher == -float("inf"), 0.0, higher)
        weights = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(most - base)
        total = total * shrink + tl.sum(weights, 1)
        if UPCAST:
            added = tl.dot(weights, value.to(tl.float32), input_precision="ieee")
        else:
            added = tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        output = output * shrink[:, None] + added
        most = higher
    seen = total > 0
    output = output / tl.where(seen, total, 1.0)[:, None]
    found = tl.where(seen, most + tl.log2(tl.where(seen, total, 1.0)), -float("inf"))
    place = ((item * heads + head) * parts + part).to(tl.int64) * ROWS + rows
    tl.store(partial + place[:, None] * DIM + dims[None], output)
    tl.store(sums + place, found)


@triton.jit
def _merge(
    partial, sums, output, natural,
    PARTS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """output [items, newest, heads, DIM] and natural [items, newest, heads] of what the parts found."""
    item, row, head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows, heads = tl.num_programs(1), tl.num_programs(2)
    parts, dims = tl.arange(0, PARTS), tl.arange(0, DIM)
    kv_heads = heads // GROUP
    first = (item * kv_heads + head // GROUP).to(tl.int64) * PARTS
    place = (first + parts) * ROWS + row * GROUP + head % GROUP
    found = tl.load(sums + place)
    most = tl.max(found, 0)
    base = tl.where(most == -float("inf"), 0.0, most)
    weights = tl.exp2(found - base)
    total = tl.sum(weights, 0)
    seen = total > 0
    parted = tl.load(partial + place[:, None] * DIM + dims[None])
    merged = tl.sum(parted * weights[:, None], 0) / tl.where(seen, total, 1.0)
    target = (item * rows + row).to(tl.int64) * heads + head
    tl.store(output + target * DIM + dims, merged.to(output.dtype.element_ty))
    tl.store(natural + target, tl.where(seen, (base + tl.log2(tl.where(seen, total, 1.0))) * 0.6931471805599453, most))


def tile_rows(newest: int, group: int) -> int:
    """Rows of a tile: matrix instructions want 16 or more, a power of two."""
    return max(16, 1 << (newest * group - 1).bit_length())


def config(rows: int, dim: int, number_bytes: int = 2) -> dict[str, int]:
    """Launch options of `_partial` that fit the registers and shared memory of sm_90."""
    wide = dim * number_bytes
    return {"num_warps": 4 if rows <= 64 else 8, "num_stages": 3 if wide <= 256 else 2 if wide <= 512 else 1}


def attn_decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    scale: float,
    page: int,
    window: int | None = None,
    page_ids: torch.Tensor | None = None,
    tree_mask: torch.Tensor | None = None,
    parts: int = 16,
    interpreted: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_decode`.

    Args:
        parts: programs that share the keys of a sequence, a power of two.
    """
    items, newest, heads, dim = query.shape
    keys, values = by_page(keys, page), by_page(values, page)
    kv_heads = keys.shape[2]
    group = heads // kv_heads
    rows = tile_rows(newest, group)
    made = partial_(torch.empty, dtype=torch.float32, device=query.device)
    partial, sums = made((items, kv_heads, parts, rows, dim)), made((items, kv_heads, parts, rows))
    output, natural = torch.empty_like(query, memory_format=torch.contiguous_format), made((items, newest, heads))
    _partial[(items, kv_heads, parts)](
        query, keys, values, block_table, seq_lens,
        seq_lens if page_ids is None else page_ids, seq_lens if tree_mask is None else tree_mask, partial, sums,
        scale * LOG2_E, window or 0, block_table.shape[1], 0 if page_ids is None else page_ids.shape[2], len(keys),
        query.stride(0), query.stride(1), query.stride(2), *keys.stride()[:3], block_table.stride(0),
        NEWEST=newest, GROUP=group, ROWS=rows, DIM=dim, PAGE=page, WINDOWED=window is not None,
        SELECTED=page_ids is not None, TREE=tree_mask is not None, UPCAST=interpreted,
        **config(rows, dim, query.element_size()),
    )  # fmt: skip
    _merge[(items, newest, heads)](
        partial, sums, output, natural, PARTS=parts, GROUP=group, ROWS=rows, DIM=dim, num_warps=4
    )
    return output, natural

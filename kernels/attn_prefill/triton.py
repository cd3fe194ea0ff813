"""FlashAttention-2 over lists of key tiles: one program per query block and head.

Without a list the same code reads all that is causal, or the first tokens and a window, tile ids then being
arithmetic. Each program takes the tiles that need no mask first, and the others after. The longest blocks start first,
and the heads that share keys run side by side, so that they find them in the cache.

Queries, keys and values are read by TMA: what lies past a tensor's end reads as 0, never faults. Keys and values are
[pages, heads, tokens, dim] for it; what lies in a row is one page. Softmax is in base 2.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from turnout.kernels.shared.index import BlockIndex
from turnout.kernels.shared.masks import windows_of
from turnout.kernels.shared.triton import LOG2_E, product, softmax_end, softmax_step


@triton.jit
def _prefill(
    q, k, v, indptr, indices, n_full, windows, order, table, out, lse,
    scale, queries, kv_len, q_start, sink, blocks, stride_out, stride_out_head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, SHARED: tl.constexpr, DIM: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, PAGE: tl.constexpr, CAUSAL: tl.constexpr, LISTED: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """out [queries, HEADS, DIM] and lse [HEADS, queries], natural.

    Args:
        windows: int32 [HEADS]; order: int32 [key heads], which of them start first.
        table: int32, the pages in order; not read where PAGE is 0: keys in a row.
        SHARED: query heads that share a list.
    """
    program = tl.program_id(0)
    head = tl.load(order + program // (blocks * GROUP)) * GROUP + program % GROUP
    block = blocks - 1 - program % (blocks * GROUP) // GROUP
    kv_head = head // GROUP
    first = q_start + block * BLOCK_M
    last = tl.minimum(first + BLOCK_M, q_start + queries) - 1
    window = tl.load(windows + head)
    if LISTED:
        row = head // SHARED * blocks + block
        begin = tl.load(indptr + row)
        full = tl.load(n_full + row)
        masked = tl.load(indptr + row + 1) - begin - full
        sure, clear, touched, one, two, whole = begin, 0, 0, 0, 0, 0
    else:
        # Tiles that some query sees, and how many leading ones all see whole, but for the window.
        end = tl.minimum(last + 1, kv_len) if CAUSAL else kv_len
        tiles = tl.cdiv(end, BLOCK_N)
        whole = (tl.minimum(first + 1, kv_len) if CAUSAL else kv_len) // BLOCK_N
        # The window's first tile, and the first that lies in the window of every query.
        low = tl.minimum(tl.maximum(first + 1 - window, 0) // BLOCK_N, tiles)
        sure = tl.minimum(sink // BLOCK_N, whole)
        clear = tl.minimum(tl.maximum(tl.cdiv(tl.maximum(last + 1 - window, 0), BLOCK_N), sure), tiles)
        whole = tl.maximum(whole, clear)
        full = sure + whole - clear
        # Masked are the sinks' last tile, the window's low edge and the diagonal.
        sinks = tl.maximum(tl.minimum(tl.cdiv(sink, BLOCK_N), clear), sure)
        touched = tl.maximum(low, sinks)
        one = sinks - sure
        two = tl.maximum(clear - touched, 0)
        masked = one + two + tl.maximum(tiles - whole, 0)
        begin = 0
    tile = q.load([head, block * BLOCK_M, 0]).reshape(BLOCK_M, DIM)
    rows = first + tl.arange(0, BLOCK_M)
    places = tl.arange(0, BLOCK_N)
    most = tl.full([BLOCK_M], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    output = tl.zeros([BLOCK_M, DIM], tl.float32)
    for at in range(full):
        if LISTED:
            start = tl.load(indices + begin + at) * BLOCK_N
        else:
            start = tl.where(at < sure, at, clear + at - sure) * BLOCK_N
        if PAGE:
            # A tile out of range is on page -1, which reads as 0.
            known = (start >= 0) & (start < kv_len)
            page, inner = tl.load(table + start // PAGE, mask=known, other=-1), start % PAGE
        else:
            page, inner = 0, start
        key = k.load([page, kv_head, inner, 0]).reshape(BLOCK_N, DIM)
        value = v.load([page, kv_head, inner, 0]).reshape(BLOCK_N, DIM)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        most, total, output = softmax_step(scores, value, most, total, output, UPCAST)
    for at in range(masked):
        if LISTED:
            start = tl.load(indices + begin + full + at) * BLOCK_N
        else:
            near = tl.where(at < one + two, touched + at - one, whole + at - one - two)
            start = tl.where(at < one, sure + at, near) * BLOCK_N
        if PAGE:
            known = (start >= 0) & (start < kv_len)
            page, inner = tl.load(table + start // PAGE, mask=known, other=-1), start % PAGE
        else:
            page, inner = 0, start
        key = k.load([page, kv_head, inner, 0]).reshape(BLOCK_N, DIM)
        value = v.load([page, kv_head, inner, 0]).reshape(BLOCK_N, DIM)
        scores = product(tile, tl.trans(key), UPCAST) * scale
        keys = start + places
        inside = keys < kv_len
        shown = inside[None] & ((rows[:, None] - keys[None] < window) | (keys < sink)[None])
        if CAUSAL:
            shown = shown & (keys[None] <= rows[:, None])
        if PAGE:
            # Past the sequence's end a page holds what was there before, maybe no numbers.
            value = tl.where(inside[:, None], value, 0.0)
        scores = tl.where(shown, scores, -float("inf"))
        most, total, output = softmax_step(scores, value, most, total, output, UPCAST)
    output, found = softmax_end(most, total, output)
    at = block * BLOCK_M + tl.arange(0, BLOCK_M)
    real = at < queries
    place = out + at.to(tl.int64)[:, None] * stride_out + head * stride_out_head + tl.arange(0, DIM)[None]
    tl.store(place, output.to(out.dtype.element_ty), mask=real[:, None])
    tl.store(lse + head.to(tl.int64) * queries + at, found, mask=real)


def tiles(dim: int) -> tuple[int, int]:
    """Queries of a block and keys of a tile where no index sets them."""
    return (128, 64) if dim <= 128 else (64, 32)


def config(block_m: int, block_n: int, dim: int) -> dict[str, int]:
    """Launch options that fit the registers and shared memory of sm_90 for numbers of two bytes: 4 warps spill where a
    block has 128 queries, and two programs of smaller blocks are to fit a multiprocessor side by side.
    """
    deep = (block_m + 6 * block_n) * dim * 2 <= (140 if block_m >= 128 else 110) * 1024
    return {"num_warps": 8 if block_m >= 128 else 4, "num_stages": 3 if deep else 2}


def described(pages: torch.Tensor, block: int) -> Any:
    """TMA descriptor of [..., tokens, dim], boxes of `block` tokens."""
    return TensorDescriptor.from_tensor(pages, [1] * (pages.dim() - 2) + [block, pages.shape[-1]])


def attn_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: BlockIndex | None = None,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int,
    causal: bool = True,
    window: int | torch.Tensor | None = None,
    sink: int = 0,
    block_table: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    block: tuple[int, int] | None = None,
    interpreted: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.attn_prefill`.

    Args:
        block: queries of a block and keys of a tile; an index sets its own.
    """
    queries, heads, dim = q.shape
    paged = block_table is not None
    kv_heads = k.shape[1]
    block_m, block_n = (index.block_m, index.block_n) if index is not None else block or tiles(dim)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    lse = torch.empty(heads, queries, dtype=torch.float32, device=q.device)
    windows = windows_of(window, heads, q.device)
    # Key heads that read most start first.
    cost = windows.view(kv_heads, -1).sum(1, dtype=torch.int64)
    order = torch.argsort(cost, descending=True, stable=True).int()
    keys, values = (t if paged else t[:kv_len].transpose(0, 1)[None] for t in (k, v))
    blocks = -(-queries // block_m)
    none = windows
    _prefill[(blocks * heads,)](
        described(q.transpose(0, 1), block_m), described(keys, block_n), described(values, block_n),
        none if index is None else index.indptr, none if index is None else index.indices,
        none if index is None else index.n_full, windows, order, block_table if paged else none, out, lse,
        scale * LOG2_E, queries, kv_len, q_start, sink, blocks, out.stride(0), out.stride(1),
        HEADS=heads, GROUP=heads // kv_heads, SHARED=1 if index is None else heads // index.heads, DIM=dim,
        BLOCK_M=block_m, BLOCK_N=block_n, PAGE=k.shape[2] if paged else 0, CAUSAL=causal, LISTED=index is not None,
        UPCAST=interpreted, **config(block_m, block_n, dim),
    )  # fmt: skip
    return out, lse

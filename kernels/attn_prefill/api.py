"""Attention of many queries of one sequence, over all keys or over those tiles that an index names."""

from __future__ import annotations

import torch

from turnout.kernels.attn_prefill import blocked
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong
from turnout.kernels.shared.index import BlockIndex, check_values

OP = "attn_prefill"


def attn_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: BlockIndex | None = None,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int | None = None,
    causal: bool = True,
    window: int | torch.Tensor | None = None,
    sink: int = 0,
    block_table: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
    return_lse: bool = True,
    validate: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A query at position p sees the keys up to p, if causal, that its list, window and sinks leave.

    Args:
        q: [queries, query heads, dim].
        k, v: [keys, key heads, dim], or with a block table [pages, key heads, tokens of a page, dim]: `pages[:, 0]`
            and `pages[:, 1]` of [pages, 2, key heads, tokens, dim].
        index: the tiles that each block of queries reads; None for all. Those that it calls full get no mask.
        scale: of the scores, before the softmax.
        q_start: position of the first query: the queries of a chunk follow those keys.
        kv_len: tokens that have keys; None for all of k. Later ones are not looked at.
        window: tokens that a query sees at most, itself the last; int32 [query heads] for one per head, on the
            inputs' device. None for all.
        sink: the first tokens, seen beside the window.
        block_table: int32 [pages of the sequence], in order. A tile may not be larger than a page.
        out: where to write the output.
        validate: whether the values of index and tables are checked: True waits for a GPU, None checks them where they
            lie on the host.

    Returns:
        output like q, and the natural logarithm of the softmax sums, float32 [query heads, queries], None if not
        wanted; a query that sees nothing gives 0 and -inf. FlashAttention-2 (Dao 2023) over a block list.

    Raises:
        KernelError: shapes, strides, types, places or values do not fit together.
    """
    _check_shapes(q, k, v, block_table)
    if kv_len is None:
        kv_len = len(k) if block_table is None else len(block_table) * k.shape[2]
    _check(q, k, v, kv_len, q_start, causal, window, sink, block_table, out)
    if index is not None:
        _check_index(q, k, index, kv_len, q_start, causal, window, block_table, validate)
    if block_table is not None:
        used = block_table[: -(-kv_len // k.shape[2])]
        checks.within(OP, "block_table", used, 0, len(k), validate=validate)
    if isinstance(window, torch.Tensor):
        checks.within(OP, "window", window, 1, 2**31, validate=validate)
    if q.device.type == "cuda" and q.dtype != torch.float32 and _tiles_fit(q, k, index, block_table):
        from turnout.kernels.attn_prefill import triton

        checks.aligned(OP, q=q, k=k, v=v)
        output, lse = triton.attn_prefill(
            q, k, v, index, scale=scale, q_start=q_start, kv_len=kv_len, causal=causal, window=window, sink=sink,
            block_table=block_table, out=out,
        )  # fmt: skip
    else:
        output, lse = blocked.attn_prefill(
            q, k, v, index, scale=scale, q_start=q_start, kv_len=kv_len, causal=causal, window=window, sink=sink,
            block_table=block_table, out=out,
        )  # fmt: skip
    return output, lse if return_lse else None


def _tiles_fit(q: torch.Tensor, k: torch.Tensor, index: BlockIndex | None, block_table: torch.Tensor | None) -> bool:
    """Whether the kernel's registers hold the tiles, and a page holds a tile."""
    from turnout.kernels.attn_prefill.triton import tiles

    block_m, block_n = tiles(q.shape[2]) if index is None else (index.block_m, index.block_n)
    small = max(block_m, block_n) <= 128 and q.shape[2] * block_m <= 128 * 128
    return small and (block_table is None or k.shape[2] % block_n == 0)


def _check_shapes(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, block_table: torch.Tensor | None) -> None:
    paged = block_table is not None
    if q.dim() != 3 or k.dim() != (4 if paged else 3) or k.shape != v.shape or q.shape[2] != k.shape[-1]:
        raise wrong(
            OP,
            f"q {tuple(q.shape)} is [queries, heads, dim], k {tuple(k.shape)} and v {tuple(v.shape)} are "
            f"{'[pages, heads, tokens, dim]' if paged else '[keys, heads, dim]'}: they do not fit together",
        )
    if block_table is not None and block_table.dim() != 1:
        raise wrong(OP, f"the block table {tuple(block_table.shape)} is of one sequence: [pages]")


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    kv_len: int,
    q_start: int,
    causal: bool,
    window: int | torch.Tensor | None,
    sink: int,
    block_table: torch.Tensor | None,
    out: torch.Tensor | None,
) -> None:
    checks.heads(OP, q.shape[1], k.shape[1], q.shape[2])
    checks.floats(OP, q=q, k=k, v=v)
    per_head = window if isinstance(window, torch.Tensor) else None
    checks.places(OP, q=q, k=k, v=v, block_table=block_table, window=per_head, out=out)
    checks.integers(OP, torch.int32, block_table=block_table, window=per_head)
    capacity = len(k)
    if block_table is not None:
        checks.power_of_two(OP, 16, page=k.shape[2])
        capacity = len(block_table) * k.shape[2]
    if not len(q) or not 1 <= kv_len <= capacity:
        raise wrong(OP, f"{len(q)} queries over {kv_len} keys can't be: there must be some, and {capacity} are given")
    if q_start < 0 or (causal and q_start + len(q) > kv_len):
        raise wrong(OP, f"queries {q_start} to {q_start + len(q) - 1} are not all among the {kv_len} keys")
    if (per_head is not None and per_head.shape != (q.shape[1],)) or (isinstance(window, int) and window < 1):
        raise wrong(
            OP, f"a window of {window} tokens for {q.shape[1]} heads: it must be 1 or more, one or one per head"
        )
    if sink < 0:
        raise wrong(OP, f"{sink} sinks can't be")
    if out is not None and (out.shape != q.shape or out.dtype != q.dtype):
        raise wrong(OP, f"out is {out.dtype} {tuple(out.shape)}, the output {q.dtype} {tuple(q.shape)}")


def _check_index(
    q: torch.Tensor,
    k: torch.Tensor,
    index: BlockIndex,
    kv_len: int,
    q_start: int,
    causal: bool,
    window: int | torch.Tensor | None,
    block_table: torch.Tensor | None,
    validate: bool | None,
) -> None:
    checks.power_of_two(OP, 16, block_m=index.block_m, block_n=index.block_n)
    if index.heads not in {q.shape[1], k.shape[1], 1}:
        raise wrong(OP, f"the index has lists of {index.heads} heads: {q.shape[1]}, {k.shape[1]} or 1 are needed")
    blocks = -(-len(q) // index.block_m)
    if index.n_full.shape != (index.heads * blocks,) or index.indptr.shape != (index.heads * blocks + 1,):
        raise wrong(
            OP,
            f"n_full {tuple(index.n_full.shape)} and indptr {tuple(index.indptr.shape)} are not of {index.heads} heads "
            f"with {blocks} blocks of {index.block_m} queries",
        )
    parts = {"indptr": index.indptr, "indices": index.indices, "n_full": index.n_full}
    checks.integers(OP, torch.int32, **parts)
    checks.places(OP, q=q, **parts)
    if block_table is not None and k.shape[2] % index.block_n:
        raise wrong(OP, f"tiles of {index.block_n} keys do not lie within pages of {k.shape[2]}")
    if checks.looked_at(index.indices, validate):
        check_values(
            OP, index, queries=len(q), q_start=q_start, kv_len=kv_len, causal=causal, window=window is not None
        )

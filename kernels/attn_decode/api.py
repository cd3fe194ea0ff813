"""Attention of a few newest tokens of several sequences over pages of keys and values."""

from __future__ import annotations

import torch

from turnout.errors import KernelError
from turnout.kernels.attn_decode import naive

DIMS = (16, 32, 64, 128, 256)
MOST_ROWS = 128
"""Newest tokens times query heads of a key head."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


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
    parts: int = 16,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each newest token looks at all tokens of its sequence up to itself; their keys are in the pages already.

    Args:
        query: [items, newest, query heads, dim].
        keys, values: of one layer, [slots, heads, dim]; page p holds the slots from p * page on.
        block_table: int32 [items, pages]: the pages of each sequence, in order. What lies past a sequence's end is not
            looked at.
        seq_lens: int32 [items]: tokens of each sequence, the newest ones included. A sequence of 0 sees nothing.
        scale: of the scores, before the softmax.
        window: each token sees so many tokens at most, itself the last; None for all.
        parts: programs that share a sequence's keys, a power of two; more for long sequences.

    Returns:
        output like query, and the natural logarithm of the softmax sums, float32 [items, newest, query heads]; a token
        that sees nothing gives 0 and -inf. FlashDecoding: Dao et al. 2023; the merge is exact.

    Raises:
        KernelError: shapes, types or places do not fit together.
    """
    _check(query, keys, values, block_table, seq_lens, page, window, parts)
    if query.device.type != "cuda":
        return naive.attn_decode(query, keys, values, block_table, seq_lens, scale=scale, page=page, window=window)
    from turnout.kernels.attn_decode import triton

    return triton.attn_decode(
        query, keys, values, block_table, seq_lens, scale=scale, page=page, window=window, parts=parts
    )


def _check(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    page: int,
    window: int | None,
    parts: int,
) -> None:
    if query.dim() != 4 or keys.dim() != 3 or keys.shape != values.shape or query.shape[3] != keys.shape[2]:
        raise _wrong(
            f"query {tuple(query.shape)} is [items, newest, heads, dim], keys {tuple(keys.shape)} and values "
            f"{tuple(values.shape)} are [slots, heads, dim]: they do not fit together"
        )
    items, newest, heads, dim = query.shape
    if heads % keys.shape[1]:
        raise _wrong(f"{heads} query heads can't share {keys.shape[1]} key heads evenly")
    if dim not in DIMS:
        raise _wrong(f"heads of {dim} numbers are not supported, only of {DIMS}")
    if not 1 <= newest * (heads // keys.shape[1]) <= MOST_ROWS:
        raise _wrong(f"{newest} newest tokens of {heads // keys.shape[1]} heads each are over {MOST_ROWS} rows")
    if query.dtype not in FLOATS or not query.dtype == keys.dtype == values.dtype:
        raise _wrong(f"query is {query.dtype}, keys {keys.dtype}, values {values.dtype}: one float type is needed")
    if block_table.dtype != torch.int32 or seq_lens.dtype != torch.int32:
        raise _wrong(f"the table is {block_table.dtype} and the lengths {seq_lens.dtype}: both must be int32")
    if block_table.dim() != 2 or len(block_table) != items or seq_lens.shape != (items,):
        raise _wrong(
            f"the table {tuple(block_table.shape)} and the lengths {tuple(seq_lens.shape)} are not of {items} sequences"
        )
    places = {tensor.device for tensor in (query, keys, values, block_table, seq_lens)}
    if len(places) > 1:
        raise _wrong(f"the inputs lie on several devices: {sorted(map(str, places))}")
    if any(tensor.stride(-1) != 1 for tensor in (query, keys, values, block_table)) or keys.stride() != values.stride():
        raise _wrong("the last dimension must lie together in memory, and keys and values alike")
    if page < 16 or page & (page - 1) or parts < 1 or parts & (parts - 1):
        raise _wrong(f"page is {page} and parts {parts}: both must be powers of two, the page 16 or more")
    if window is not None and window < 1:
        raise _wrong(f"a window of {window} tokens sees nothing")


def _wrong(message: str) -> KernelError:
    return KernelError(message, hint="shapes and types are in turnout.kernels.attn_decode.api")

"""Attention of a few newest tokens of several sequences over pages of keys and values."""

from __future__ import annotations

import torch

from turnout.errors import KernelError
from turnout.kernels.attn_decode import blocked
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import DIMS as DIMS
from turnout.kernels.shared.checks import FLOATS

MOST_ROWS = 128
"""Newest tokens times query heads of a key head."""

MOST_DRAFTED = 64
"""Newest tokens that a tree mask has bits for."""


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
    validate: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each newest token looks at the tokens of its sequence up to itself; their keys are in the pages already.

    Args:
        query: [items, newest, query heads, dim].
        keys, values: of one layer, [slots, heads, dim], page p holding the slots from p * page on; or
            [pages, page, heads, dim] of any strides but the last: `pages[:, 0].transpose(1, 2)` and
            `pages[:, 1].transpose(1, 2)` of [pages, 2, heads, page, dim].
        block_table: int32 [items, pages]: the pages of each sequence, in order. What lies past a sequence's end is not
            looked at.
        seq_lens: int32 [items]: tokens of each sequence, the newest ones included. A sequence of 0 sees nothing.
        scale: of the scores, before the softmax.
        window: each token sees so many tokens at most, itself the last; None for all.
        page_ids: int32 [items, heads, chosen], which pages of its sequence each key head reads, counted from the
            sequence's start, -1 for none; all newest tokens read the same. None for all pages. See `select_pages`.
        tree_mask: int64 [items, newest], up to 64 newest tokens that are a tree: bit c of row r says whether newest
            token r sees newest token c. None where each sees those before it and itself.
        parts: programs that share a sequence's keys, a power of two; more for long sequences.
        validate: whether the values of tables, lengths and page_ids are checked: True waits for a GPU, None checks them
            where they lie on the host. The kernel does not read what is out of range.

    Returns:
        output like query, and the natural logarithm of the softmax sums, float32 [items, newest, query heads]; a token
        that sees nothing gives 0 and -inf. FlashDecoding: Dao et al. 2023; the merge is exact.

    Raises:
        KernelError: shapes, types or places do not fit together.
    """
    _check(query, keys, values, block_table, seq_lens, page, window, parts)
    _check_choice(query, keys, page_ids, tree_mask)
    _check_values(keys, block_table, seq_lens, page, page_ids, validate)
    if query.device.type != "cuda":
        return blocked.attn_decode(
            query, keys, values, block_table, seq_lens, scale=scale, page=page, window=window, page_ids=page_ids,
            tree_mask=tree_mask,
        )  # fmt: skip
    from turnout.kernels.attn_decode import triton

    return triton.attn_decode(
        query, keys, values, block_table, seq_lens, scale=scale, page=page, window=window, page_ids=page_ids,
        tree_mask=tree_mask, parts=parts,
    )  # fmt: skip


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
    paged = keys.dim() == 4
    if query.dim() != 4 or keys.dim() not in {3, 4} or keys.shape != values.shape or query.shape[3] != keys.shape[-1]:
        raise _wrong(
            f"query {tuple(query.shape)} is [items, newest, heads, dim], keys {tuple(keys.shape)} and values "
            f"{tuple(values.shape)} are [slots, heads, dim] or [pages, {page}, heads, dim]: they do not fit together"
        )
    if paged and keys.shape[1] != page:
        raise _wrong(f"the pages hold {keys.shape[1]} tokens, not {page}")
    items, newest, heads, dim = query.shape
    kv_heads = keys.shape[-2]
    if not kv_heads or heads % kv_heads:
        raise _wrong(f"{heads} query heads can't share {kv_heads} key heads evenly")
    if dim not in DIMS:
        raise _wrong(f"heads of {dim} numbers are not supported, only of {DIMS}")
    if not 1 <= newest * (heads // kv_heads) <= MOST_ROWS:
        raise _wrong(f"{newest} newest tokens of {heads // kv_heads} heads each are over {MOST_ROWS} rows")
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


def _check_choice(
    query: torch.Tensor, keys: torch.Tensor, page_ids: torch.Tensor | None, tree_mask: torch.Tensor | None
) -> None:
    items, newest = query.shape[:2]
    checks.integers("attn_decode", torch.int32, page_ids=page_ids)
    checks.integers("attn_decode", torch.int64, tree_mask=tree_mask)
    checks.places("attn_decode", query=query, page_ids=page_ids, tree_mask=tree_mask)
    if page_ids is not None and (page_ids.shape[:-1] != (items, keys.shape[-2]) or not page_ids.is_contiguous()):
        raise _wrong(f"page_ids {tuple(page_ids.shape)} are not [{items}, {keys.shape[-2]}, chosen] that lie together")
    if tree_mask is not None:
        if tree_mask.shape != (items, newest) or not tree_mask.is_contiguous():
            raise _wrong(f"the tree mask {tuple(tree_mask.shape)} is not [{items}, {newest}] that lies together")
        if newest > MOST_DRAFTED:
            raise _wrong(f"a tree of {newest} tokens has more than {MOST_DRAFTED} bits")


def _check_values(
    keys: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    page: int,
    page_ids: torch.Tensor | None,
    validate: bool | None,
) -> None:
    if not checks.looked_at(seq_lens, validate):
        return
    width = block_table.shape[1]
    checks.within("attn_decode", "seq_lens", seq_lens, 0, width * page + 1, validate=True)
    used = torch.arange(width, device=seq_lens.device) * page < seq_lens[:, None]
    count = len(keys) if keys.dim() == 4 else len(keys) // page
    checks.within("attn_decode", "the table", block_table[used], 0, count, validate=True)
    if page_ids is None:
        return
    checks.within("attn_decode", "page_ids", page_ids, -1, width, validate=True)
    ordered = page_ids.sort(-1).values
    if bool(((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any()):
        raise _wrong("page_ids name a page twice, whose keys would count twice")


def _wrong(message: str) -> KernelError:
    return KernelError(message, hint="shapes and types are in turnout.kernels.attn_decode.api")

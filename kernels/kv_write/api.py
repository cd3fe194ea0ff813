"""Keys and values into pages, and the least and the highest numbers of the keys there."""

from __future__ import annotations

import torch

from turnout.kernels.kv_write import blocked
from turnout.kernels.kv_write.naive import SUB_PAGE
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong

OP = "kv_write"


def kv_write(
    k: torch.Tensor,
    v: torch.Tensor,
    pages: torch.Tensor,
    slots: torch.Tensor,
    stats: torch.Tensor | None = None,
    *,
    validate: bool | None = None,
) -> None:
    """Writes each token's key and value to its slot, in place.

    A sub-page's statistics are taken anew from all its tokens up to the last one written; what lies after that is taken
    for gone. So tokens may be dropped and others written in their place.

    Args:
        k, v: [tokens, key heads, dim].
        pages: [pages, 2, key heads, tokens of a page, dim], keys first.
        slots: int64 [tokens], page * tokens of a page + place; -1 skips a token. No slot twice.
        stats: bfloat16 [pages, key heads, tokens of a page / 16, 2, dim], minimum then maximum of the keys of 16
            tokens, rounded outwards; None for none. Quest (Tang et al. 2024), LServe (Yang et al. 2025).
        validate: whether slots are checked; see `checks.within`.

    Raises:
        KernelError: shapes, strides, types, places or slots do not fit together.
    """
    if k.dim() != 3 or k.shape != v.shape or slots.shape != k.shape[:1]:
        raise wrong(
            OP,
            f"k {tuple(k.shape)} and v {tuple(v.shape)} are [tokens, heads, dim], slots {tuple(slots.shape)} [tokens]: "
            "they do not fit together",
        )
    if pages.dim() != 5 or pages.shape[1] != 2 or pages.shape[2] != k.shape[1] or pages.shape[4] != k.shape[2]:
        raise wrong(OP, f"pages {tuple(pages.shape)} are not [pages, 2, {k.shape[1]}, tokens, {k.shape[2]}]")
    checks.heads(OP, k.shape[1], k.shape[1], k.shape[2])
    checks.floats(OP, k=k, v=v, pages=pages)
    checks.integers(OP, torch.int64, slots=slots)
    checks.places(OP, k=k, v=v, pages=pages, slots=slots, stats=stats)
    _check_pages(pages, stats)
    checks.within(OP, "slots", slots, -1, len(pages) * pages.shape[3], validate=validate)
    if checks.looked_at(slots, validate):
        ordered = slots.sort().values
        twice = (ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)
        if bool(twice.any()):
            raise wrong(OP, f"slot {int(ordered[1:][twice][0])} is written twice")
    if k.device.type == "cuda":
        from turnout.kernels.kv_write import triton

        triton.kv_write(k, v, pages, slots, stats)
    else:
        blocked.kv_write(k, v, pages, slots, stats)


def page_stats(
    pages: torch.Tensor,
    page_ids: torch.Tensor,
    counts: torch.Tensor,
    stats: torch.Tensor,
    *,
    validate: bool | None = None,
) -> None:
    """Takes the statistics of some pages anew, in place: after tokens were dropped that none has replaced yet.

    Args:
        pages, stats: as in `kv_write`.
        page_ids: int64 [n], pages; counts: int64 [n], tokens that each one holds.
        validate: whether ids and counts are checked; see `checks.within`.

    Raises:
        KernelError: shapes, strides, types, places or ids do not fit together.
    """
    if pages.dim() != 5 or pages.shape[1] != 2 or page_ids.dim() != 1 or page_ids.shape != counts.shape:
        raise wrong(
            OP,
            f"pages {tuple(pages.shape)} are [pages, 2, heads, tokens, dim], page_ids {tuple(page_ids.shape)} and "
            f"counts {tuple(counts.shape)} [n]: they do not fit together",
        )
    checks.integers(OP, torch.int64, page_ids=page_ids, counts=counts)
    checks.floats(OP, pages=pages)
    checks.places(OP, pages=pages, page_ids=page_ids, counts=counts, stats=stats)
    _check_pages(pages, stats)
    size = pages.shape[3]
    checks.within(OP, "page_ids", page_ids, 0, len(pages), validate=validate)
    checks.within(OP, "counts", counts, 0, size + 1, validate=validate)
    ends = torch.arange(SUB_PAGE, size + 1, SUB_PAGE, device=pages.device)
    held = torch.minimum(ends, counts[:, None])
    slots = torch.where(held > ends - SUB_PAGE, page_ids[:, None] * size + held - 1, -1).flatten()
    if pages.device.type == "cuda":
        from turnout.kernels.kv_write import triton

        triton.refresh(pages, stats, slots)
    else:
        blocked.refresh(pages, stats, slots)


def _check_pages(pages: torch.Tensor, stats: torch.Tensor | None) -> None:
    size, dim = pages.shape[3:]
    checks.power_of_two(OP, SUB_PAGE, page=size)
    if pages.stride(3) != dim:
        raise wrong(OP, f"pages have strides {pages.stride()}: the tokens of a page and head must lie together")
    wanted = (len(pages), pages.shape[2], size // SUB_PAGE, 2, dim)
    if stats is not None and (stats.shape != wanted or stats.dtype != torch.bfloat16 or not stats.is_contiguous()):
        raise wrong(OP, f"stats are {stats.dtype} {tuple(stats.shape)}, not bfloat16 {wanted} that lie together")

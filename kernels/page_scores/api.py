"""Which pages a new token should read: bounds of their scores, and the pages with the highest ones."""

from __future__ import annotations

import torch

from turnout.kernels.kv_write.naive import SUB_PAGE
from turnout.kernels.page_scores import blocked
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong

OP = "page_scores"


def page_scores(
    q: torch.Tensor,
    stats: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    validate: bool | None = None,
) -> torch.Tensor:
    """No key of a page scores higher than this, unscaled, with any query head that shares it: Quest (Tang et al. 2024)
    per 16 tokens, the highest of a page's as in LServe (Yang et al. 2025).

    Args:
        q: [items, query heads, dim], one token of each sequence.
        stats: of `kv_write`, bfloat16 [pages, key heads, tokens of a page / 16, 2, dim].
        block_table: int32 [items, width], the pages of each sequence in order.
        seq_lens: int32 [items], tokens of each sequence.
        validate: whether tables and lengths are checked; see `checks.within`.

    Returns:
        float32 [items, key heads, width]; -inf for what lies past a sequence's end.

    Raises:
        KernelError: shapes, strides, types, places or values do not fit together.
    """
    _check(q, stats, block_table, seq_lens, validate)
    if q.device.type == "cuda":
        from turnout.kernels.page_scores import triton

        return triton.page_scores(q, stats, block_table, seq_lens)
    return blocked.page_scores(q, stats, block_table, seq_lens)


def select_pages(
    scores: torch.Tensor, seq_lens: torch.Tensor, *, page: int, budget: int, first: int = 1, last: int = 2
) -> torch.Tensor:
    """The pages to read, for `attn_decode`: the sequence's first and last ones, and the highest others. Its width is
    fixed and nothing waits for the device, so it can be captured in a CUDA graph.

    Args:
        scores: of `page_scores`, [items, key heads, width].
        seq_lens: int32 [items], tokens of each sequence.
        page: tokens of a page.
        budget: pages; first, last: how many of them are always the sequence's first and last ones.

    Returns:
        int32 [items, key heads, budget], ascending, counted from the sequence's start; -1 where it has fewer.

    Raises:
        KernelError: shapes, types, places or numbers do not fit together.
    """
    if scores.dim() != 3 or seq_lens.shape != scores.shape[:1]:
        raise wrong(
            OP, f"scores {tuple(scores.shape)} are [items, heads, pages], seq_lens {tuple(seq_lens.shape)} [items]"
        )
    checks.integers(OP, torch.int32, seq_lens=seq_lens)
    checks.floats(OP, scores=scores)
    checks.places(OP, scores=scores, seq_lens=seq_lens)
    checks.power_of_two(OP, SUB_PAGE, page=page)
    if min(first, last) < 0 or budget < max(first + last, 1):
        raise wrong(OP, f"a budget of {budget} pages does not hold {first} first and {last} last ones")
    return blocked.select_pages(scores, seq_lens, page=page, budget=budget, first=first, last=last)


def _check(
    q: torch.Tensor, stats: torch.Tensor, block_table: torch.Tensor, seq_lens: torch.Tensor, validate: bool | None
) -> None:
    if q.dim() != 3 or stats.dim() != 5 or stats.shape[3] != 2 or stats.shape[4] != q.shape[2]:
        raise wrong(
            OP,
            f"q {tuple(q.shape)} is [items, heads, dim], stats {tuple(stats.shape)} are [pages, heads, sub-pages, 2, "
            "dim]: they do not fit together",
        )
    if block_table.dim() != 2 or len(block_table) != len(q) or seq_lens.shape != q.shape[:1]:
        raise wrong(
            OP,
            f"the table {tuple(block_table.shape)} and seq_lens {tuple(seq_lens.shape)} are not of {len(q)} sequences",
        )
    checks.heads(OP, q.shape[1], stats.shape[1], q.shape[2])
    checks.floats(OP, q=q)
    checks.power_of_two(OP, 1, subs=stats.shape[2])
    if stats.dtype != torch.bfloat16 or not stats.is_contiguous():
        raise wrong(OP, f"stats are {stats.dtype} with strides {stats.stride()}, not bfloat16 that lie together")
    checks.integers(OP, torch.int32, block_table=block_table, seq_lens=seq_lens)
    checks.places(OP, q=q, stats=stats, block_table=block_table, seq_lens=seq_lens)
    if checks.looked_at(seq_lens, validate):
        size, width = stats.shape[2] * SUB_PAGE, block_table.shape[1]
        checks.within(OP, "seq_lens", seq_lens, 0, width * size + 1, validate=True)
        used = torch.arange(width, device=q.device) * size < seq_lens[:, None]
        checks.within(OP, "the table", block_table[used], 0, len(stats), validate=True)

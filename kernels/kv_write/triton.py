"""Writing keys and values into pages: one program per token and key head, then one per written sub-page and head, which
takes minimum and maximum anew, so that they are exact after any rollback and need no atomics."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from turnout.kernels.kv_write.naive import SUB_PAGE


@triton.jit
def _copy(
    k, v, pages, slots, capacity,
    stride_k, stride_k_head, stride_v, stride_v_head, stride_page, stride_kind, stride_page_head,
    PAGE: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """pages [pages, 2, heads, PAGE, DIM], of which the last two lie together."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(slots + token)
    real = (slot >= 0) & (slot < capacity)
    dims = tl.arange(0, DIM)
    target = pages + slot // PAGE * stride_page + head * stride_page_head + slot % PAGE * DIM + dims
    key = tl.load(k + token * stride_k + head * stride_k_head + dims)
    value = tl.load(v + token * stride_v + head * stride_v_head + dims)
    tl.store(target, key, mask=real)
    tl.store(target + stride_kind, value, mask=real)


@triton.jit
def _stats(
    pages, stats, slots, count, capacity, stride_page, stride_page_head,
    PAGE: tl.constexpr, DIM: tl.constexpr, SUB: tl.constexpr,
):  # fmt: skip
    """stats bfloat16 [pages, heads, PAGE / SUB, 2, DIM]; slots ascend, a sub-page's last one is what it holds up to."""
    at, head, heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    slot = tl.load(slots + at)
    following = tl.load(slots + at + 1, mask=at + 1 < count, other=-1)
    real = (slot >= 0) & (slot < capacity) & ((at + 1 == count) | (following // SUB != slot // SUB))
    dims, places = tl.arange(0, DIM), tl.arange(0, SUB)
    page, sub = slot // PAGE, slot % PAGE // SUB
    held = real & (places <= slot % SUB)
    source = pages + page * stride_page + head * stride_page_head + (sub * SUB + places)[:, None] * DIM + dims[None]
    keys = tl.load(source, mask=held[:, None], other=0.0).to(tl.float32)
    least = tl.min(tl.where(held[:, None], keys, float("inf")), 0)
    most = tl.max(tl.where(held[:, None], keys, -float("inf")), 0)
    target = stats + (((page * heads + head) * (PAGE // SUB) + sub) * 2) * DIM + dims
    tl.store(target, _outward(least, least < 0), mask=real)
    tl.store(target + DIM, _outward(most, most > 0), mask=real)


@triton.jit
def _outward(numbers, away):
    """To bfloat16, away from zero where told and towards it elsewhere: a bound stays one."""
    bits = numbers.to(tl.int32, bitcast=True)
    cut = bits & -65536
    cut = tl.where(away & (cut != bits), cut + 65536, cut)
    return cut.to(tl.float32, bitcast=True).to(tl.bfloat16)


def config() -> dict[str, int]:
    return {"num_warps": 1}


def kv_write(
    k: torch.Tensor, v: torch.Tensor, pages: torch.Tensor, slots: torch.Tensor, stats: torch.Tensor | None = None
) -> None:
    """See `api.kv_write`."""
    tokens, heads, dim = k.shape
    size = pages.shape[3]
    if not tokens:
        return
    _copy[(tokens, heads)](
        k, v, pages, slots, len(pages) * size, k.stride(0), k.stride(1), v.stride(0), v.stride(1),
        *pages.stride()[:3], PAGE=size, DIM=dim, **config(),
    )  # fmt: skip
    if stats is not None:
        refresh(pages, stats, slots)


def refresh(pages: torch.Tensor, stats: torch.Tensor, slots: torch.Tensor) -> None:
    """Minima and maxima of the sub-pages of the slots, up to the highest slot of each."""
    size, dim = pages.shape[3:]
    ordered = slots.sort().values
    _stats[(len(slots), pages.shape[2])](
        pages, stats, ordered, len(slots), len(pages) * size, pages.stride(0), pages.stride(2),
        PAGE=size, DIM=dim, SUB=SUB_PAGE, **config(),
    )  # fmt: skip

"""Merge of partial attention states: one program per token and head, all its states at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl


@triton.jit
def _merge(
    outputs, lse, weights, merged, sums,
    count,
    stride_state, stride_token, stride_head, lse_stride_state, lse_stride_token, lse_stride_head,
    STATES: tl.constexpr, DIM: tl.constexpr, WEIGHTED: tl.constexpr,
):  # fmt: skip
    """merged [tokens, heads, DIM] and sums [tokens, heads]. STATES is count, rounded up to a power of two."""
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    heads = tl.num_programs(1)
    states, dims = tl.arange(0, STATES), tl.arange(0, DIM)
    real = states < count
    at = lse + token * lse_stride_token + head * lse_stride_head + states.to(tl.int64) * lse_stride_state
    found = tl.load(at, mask=real, other=-float("inf"))
    if WEIGHTED:
        found = found * tl.load(weights + states, mask=real, other=1.0)
    most = tl.max(found, 0)
    base = tl.where(most == -float("inf"), 0.0, most)
    shares = tl.exp(found - base)
    total = tl.sum(shares, 0)
    seen = total > 0
    safe = tl.where(seen, total, 1.0)
    place = outputs + token * stride_token + head * stride_head + states.to(tl.int64)[:, None] * stride_state
    parts = tl.load(place + dims[None], mask=real[:, None], other=0.0).to(tl.float32)
    result = tl.sum(parts * (shares / safe)[:, None], 0)
    target = token * heads + head
    tl.store(merged + target * DIM + dims, result.to(merged.dtype.element_ty))
    tl.store(sums + target, tl.where(seen, base + tl.log(safe), -float("inf")))


def config() -> dict[str, int]:
    return {"num_warps": 4}


def merge_states(
    outputs: torch.Tensor, lse: torch.Tensor, weights: Sequence[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.merge_states`."""
    count, tokens, heads, dim = outputs.shape
    merged = torch.empty(tokens, heads, dim, dtype=outputs.dtype, device=outputs.device)
    sums = torch.empty(tokens, heads, dtype=torch.float32, device=outputs.device)
    factors = lse if weights is None else torch.tensor(weights, dtype=torch.float32, device=lse.device)
    if tokens:
        _merge[(tokens, heads)](
            outputs, lse, factors, merged, sums, count, *outputs.stride()[:3], *lse.stride(),
            STATES=1 << (count - 1).bit_length(), DIM=dim, WEIGHTED=weights is not None, **config(),
        )  # fmt: skip
    return merged, sums

"""The merge of attention over disjoint sets of keys, in plain torch: the truth that the kernel is held to."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def merge_states(
    outputs: torch.Tensor, lse: torch.Tensor, weights: Sequence[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `api.merge_states`; computes in the precision of `lse`, float64 if that is what it gets."""
    if weights is not None:
        lse = lse * torch.tensor(weights, dtype=lse.dtype, device=lse.device)[:, None, None]
    total = torch.logsumexp(lse, 0)
    # Where no state saw anything, -inf minus -inf is no number; those shares are 0.
    shares = torch.where(total.isinf() & (total < 0), torch.zeros_like(lse), torch.exp(lse - total))
    return torch.einsum("nth,nthd->thd", shares, outputs.to(lse.dtype)).to(outputs.dtype), total

"""Attention of one block of queries over runs of keys: what the torch paths are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch


class Run(NamedTuple):
    """Keys that follow each other, as far as the products care.

    Attributes:
        keys, values: [keys, dim].
        hidden: bool [queries, keys], which scores do not count; None where all do.
        causal: the keys are those of the queries themselves, each sees those before it and itself.
    """

    keys: torch.Tensor
    values: torch.Tensor
    hidden: torch.Tensor | None = None
    causal: bool = False


def attend(rows: torch.Tensor, runs: Iterable[Run], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax over all keys of the runs, each run's result merged into the others' by its sums.

    Args:
        rows: [heads, queries, dim], heads that share the keys.

    Returns:
        output [heads, queries, dim], float32 or better, and lse [heads, queries]; 0 and -inf for a row that saw
        nothing.
    """
    kind = torch.promote_types(rows.dtype, torch.float32)
    path = _flash if rows.device.type == "cpu" else _products
    output = total = None
    for run in runs:
        part, lse = path(rows, run, scale)
        if output is None or total is None:
            output, total = part.to(kind), lse.to(kind)
            continue
        higher = torch.logaddexp(total, lse)
        base = higher.masked_fill(higher == -torch.inf, 0)  # -inf minus -inf is no number
        output = output * torch.exp(total - base)[..., None] + part * torch.exp(lse - base)[..., None]
        total = higher
    if output is None or total is None:
        nothing = torch.zeros(rows.shape, dtype=kind, device=rows.device)
        return nothing, torch.full(rows.shape[:2], -torch.inf, dtype=kind, device=rows.device)
    return output, total


def _flash(rows: torch.Tensor, run: Run, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Torch's own kernel for CPUs, whose public function does not give the sums."""
    ops: Any = torch.ops.aten
    mask = blind = None
    if run.hidden is not None:
        mask = torch.zeros(run.hidden.shape, dtype=rows.dtype).masked_fill_(run.hidden, -torch.inf)[None, None]
        blind = run.hidden.all(1)
    output, lse = ops._scaled_dot_product_flash_attention_for_cpu(
        rows[None], run.keys[None, None], run.values[None, None], 0.0, run.causal, attn_mask=mask, scale=scale
    )
    output, lse = output[0], lse[0]
    if blind is not None and bool(blind.any()):
        output, lse = output.masked_fill(blind[:, None], 0), lse.masked_fill(blind, -torch.inf)
    return output, lse


def _products(rows: torch.Tensor, run: Run, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain matrix products, for other devices."""
    kind = torch.promote_types(rows.dtype, torch.float32)
    scores = rows.to(kind) @ run.keys.to(kind).T * scale
    hidden = torch.ones_like(scores[0], dtype=torch.bool).triu(1) if run.causal else run.hidden
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    lse = torch.logsumexp(scores, -1)
    weights = torch.exp(scores - lse.masked_fill(lse == -torch.inf, 0)[..., None])
    return weights @ run.values.to(kind), lse

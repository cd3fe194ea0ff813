"""Dense attention that also gives the logarithm of its softmax sums, by which parts over different keys become one:
o = sum of o_i exp(l_i - l), l = log sum of exp(l_i)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

Partial = tuple[torch.Tensor, torch.Tensor]
"""Output [query heads, rows, dim] and log of the softmax sums [query heads, rows], natural, float32."""

MANY_KEYS = 512
"""From so many keys on, matrix products over blocks are faster on a CPU in bfloat16 than torch's flash attention."""
FEW_ROWS, PARTS = 32, 4
"""Up to so many rows the keys are looked at in so many parts at once, on a CPU."""

BLOCK_ROWS, BLOCK_KEYS = 256, 1024
"""What is worked on at once, so that it stays in the processor's cache; of fewer rows, as many more keys."""


def accumulated(partials: Iterable[Partial]) -> Partial:
    """The partials as one; they are taken one after the other, so that never more than two are there."""
    found = iter(partials)
    output, sums = next(found)
    for part, part_sums in found:
        total = torch.logaddexp(sums, part_sums)
        output = output * (sums - total).exp()[..., None] + part * (part_sums - total).exp()[..., None]
        sums = total
    return output, sums


def flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, *, causal: bool) -> Partial:
    """Dense attention with the logarithm of its softmax sums, which the public function of torch does not give.

    Args:
        query: [query heads, rows, dim]; key and value: [heads, keys, dim]. A causal one is square.
    """
    ops: Any = torch.ops.aten
    q, k, v = query[None], key[None], value[None]
    if query.device.type == "cpu":
        output, sums = ops._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
        return output[0], sums[0]
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    if query.dtype == torch.float32:
        output, sums, *_ = ops._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal, scale=scale)
        return output[0], sums[0, :, : query.shape[1]]
    output, sums, *_ = ops._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
    return output[0], sums[0, :, : query.shape[1]]


def split_pays(query: torch.Tensor, keys: int) -> bool:
    """Whether `split` is the faster way for query [heads, rows, dim]: torch's flash attention shares out heads and
    blocks of rows alone, and a few rows of a few heads leave a CPU's cores unevenly busy."""
    return query.device.type == "cpu" and query.shape[1] <= FEW_ROWS and keys >= MANY_KEYS * PARTS


def split(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> Partial:
    """As `flash` computes where nothing is causal, over PARTS parts of the keys at once.

    Args:
        query: [heads, rows, dim]; key and value: [heads, keys, dim], of PARTS keys at least.
    """
    ops: Any = torch.ops.aten
    size = key.shape[1] // PARTS
    whole = size * PARTS
    parts = (kept[:, :whole].reshape(len(kept), PARTS, size, -1).transpose(0, 1) for kept in (key, value))
    output, sums = ops._scaled_dot_product_flash_attention_for_cpu(
        query.expand(PARTS, -1, -1, -1), *parts, 0.0, False, scale=scale
    )
    found = list(zip(output.float(), sums, strict=True))
    if whole < key.shape[1]:
        found.append(flash(query, key[:, whole:], value[:, whole:], scale, causal=False))
    output, sums = accumulated(found)
    return output.to(query.dtype), sums


def masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float) -> Partial:
    """Dense attention over padded keys, with the logarithm of its softmax sums.

    Args:
        query: [sequences, heads, rows, dim]; key and value: [sequences, heads, keys, dim].
        mask: [sequences, 1, rows or 1, keys], 0 where there is a key that the row sees, -inf where not; each sees one.
    """
    if query.device.type == "cpu":
        ops: Any = torch.ops.aten
        rows = mask.expand(-1, -1, query.shape[2], -1)
        output, sums = ops._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=rows, scale=scale
        )
        return output, sums
    scores = torch.matmul(query, key.transpose(2, 3)).float().mul_(scale).add_(mask)
    most = scores.amax(-1, keepdim=True)
    weights = scores.sub_(most).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.matmul(weights.to(value.dtype), value) / total, (most + total.log())[..., 0]


def products_pay(query: torch.Tensor, keys: int) -> bool:
    """Whether `products` is the faster way for query [heads, rows, dim]."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and keys >= MANY_KEYS


def products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> Partial:
    """As `flash` computes where nothing is causal, by matrix products over blocks; scores are rounded to the inputs'
    precision before the softmax.

    Args:
        query: [heads, rows, dim]; key and value: [heads, keys, dim].
    """
    width = BLOCK_KEYS * max(BLOCK_ROWS // query.shape[1], 1)
    blocks = [
        (key[:, begin : begin + width].contiguous().transpose(1, 2), value[:, begin : begin + width])
        for begin in range(0, key.shape[1], width)
    ]
    outputs, sums = [], []
    for rows in torch.split(query, BLOCK_ROWS, 1):
        output, total = accumulated(_product(rows, *block, scale) for block in blocks)
        outputs.append(output.to(value.dtype))
        sums.append(total)
    return torch.cat(outputs, 1), torch.cat(sums, 1)


def _product(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> Partial:
    """One block; key is [heads, dim, keys]. The output is in float32."""
    scores = torch.bmm(query, key).float().mul_(scale)
    most = scores.amax(-1, keepdim=True)
    weights = scores.sub_(most).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.bmm(weights.to(value.dtype), value) / total, (most + total.log())[..., 0]

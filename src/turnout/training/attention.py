"""Attention over sheets: what all questions share is plain causal attention, only their branches need a mask.

A kernel skips the upper half of a causal square, and nothing of one with a mask: over a long text most of the time.
"""

from __future__ import annotations

from typing import Any

NAME = "turnout_sheets"


def use(model: Any) -> None:
    """Makes a model of transformers read sheets with it: its forward then takes `shared`, tokens at the beginning of
    every row that are not in a branch, beside a mask [batch, 1, length, length]."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared: int = 0,
    **_: Any,
) -> tuple[Any, None]:
    """[batch, length, heads, dim] of queries [batch, heads, length, dim] and keys and values with fewer heads."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attention

    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    end = query.shape[2]
    made = []
    if shared:
        q, k, v = (tensor[:, :, :shared] for tensor in (query, key, value))
        made.append(attention(q, k, v, is_causal=True, dropout_p=dropout, scale=scaling))
    if shared < end:
        mask = attention_mask[:, :, shared:]
        made.append(attention(query[:, :, shared:], key, value, mask, dropout_p=dropout, scale=scaling))
    return torch.cat(made, dim=2).transpose(1, 2).contiguous(), None

"""Attention to the first tokens and a window, of which each head has its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from turnout.kernels.attn_prefill.api import attn_prefill
from turnout.kernels.shared.checks import wrong
from turnout.kernels.shared.masks import EVERYTHING


def streaming(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    windows: Sequence[int | None] | torch.Tensor,
    *,
    scale: float,
    sink: int = 0,
    q_start: int = 0,
    kv_len: int | None = None,
    out: torch.Tensor | None = None,
    validate: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A query sees the first `sink` tokens and the newest of its head's window, itself the last of them. Heads that
    stream and heads that see everything share one launch: StreamingLLM (Xiao et al. 2024), the heads' roles of
    DuoAttention (Xiao et al. 2025) and the spans of MoA (Fu et al. 2024).

    Args:
        q: [queries, query heads, dim]; k, v: [keys, key heads, dim].
        windows: tokens, one for each query head, None for all; or int32 [query heads] on the inputs' device.
        scale: of the scores, before the softmax.
        sink: tokens.
        q_start: position of the first query.
        kv_len: tokens that have keys; None for all of k.
        out: where to write the output.
        validate: whether the values of `windows` are checked, see `attn_prefill`.

    Returns:
        output like q, and the natural logarithm of the softmax sums, float32 [query heads, queries].

    Raises:
        KernelError: shapes, strides, types, places or values do not fit together.
    """
    if not isinstance(windows, torch.Tensor):
        wide = [EVERYTHING if window is None else window for window in windows]
        if any(window < 1 for window in wide):
            raise wrong("streaming", f"windows of {list(windows)} tokens: each must be 1 or more")
        windows = torch.tensor(wide, dtype=torch.int32).to(q.device)
    return attn_prefill(
        q, k, v, scale=scale, q_start=q_start, kv_len=kv_len, window=windows, sink=sink, out=out, validate=validate
    )

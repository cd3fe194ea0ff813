"""Where a few queries look: by key, and by how far back."""

from __future__ import annotations

import torch

from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong
from turnout.kernels.vs_probe import blocked

OP = "vs_probe"
MOST_ROWS = 128


def vs_probe(
    q_probe: torch.Tensor, probe_pos: torch.Tensor, k: torch.Tensor, *, scale: float, validate: bool | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over the rows of the softmax weights of each key, and of the keys that lie equally far back: MInference's
    estimate of vertical and slash lines (Jiang et al. 2024) with its last 64 rows; SampleAttention's columns with
    strided ones (Zhu et al. 2024).

    Args:
        q_probe: [rows, query heads, dim], up to 128 rows.
        probe_pos: int32 [rows], their positions; a row sees the keys up to its own.
        k: [keys, key heads, dim].
        scale: of the scores, before the softmax.
        validate: whether positions are checked; see `checks.within`.

    Returns:
        columns [query heads, keys], and diagonals [query heads, keys] by tokens back, 0 the token itself; float32,
        each summing up to the number of rows. On a GPU diagonals are sums of weights rounded to bfloat16.

    Raises:
        KernelError: shapes, strides, types, places or positions do not fit together.
    """
    _check(q_probe, probe_pos, k, validate)
    if k.device.type == "cuda" and k.dtype != torch.float32 and k.shape[2] <= 128:
        from turnout.kernels.vs_probe import triton

        checks.aligned(OP, q_probe=q_probe, k=k)
        return triton.vs_probe(q_probe, probe_pos, k, scale=scale)
    return blocked.vs_probe(q_probe, probe_pos, k, scale=scale)


def _check(q_probe: torch.Tensor, probe_pos: torch.Tensor, k: torch.Tensor, validate: bool | None) -> None:
    if q_probe.dim() != 3 or k.dim() != 3 or q_probe.shape[2] != k.shape[2] or probe_pos.shape != q_probe.shape[:1]:
        raise wrong(
            OP,
            f"q_probe {tuple(q_probe.shape)} is [rows, heads, dim], probe_pos {tuple(probe_pos.shape)} [rows] and k "
            f"{tuple(k.shape)} [keys, heads, dim]: they do not fit together",
        )
    checks.heads(OP, q_probe.shape[1], k.shape[1], k.shape[2])
    checks.floats(OP, q_probe=q_probe, k=k)
    checks.integers(OP, torch.int32, probe_pos=probe_pos)
    checks.places(OP, q_probe=q_probe, probe_pos=probe_pos, k=k)
    if not 1 <= len(q_probe) <= MOST_ROWS or not len(k):
        raise wrong(OP, f"{len(q_probe)} rows over {len(k)} keys: 1 to {MOST_ROWS} rows and some keys are needed")
    checks.within(OP, "probe_pos", probe_pos, 0, len(k), validate=validate)

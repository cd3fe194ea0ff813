"""One attention output from several over disjoint sets of keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from turnout.kernels.merge_states import naive
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong

MOST_STATES = 64


def merge_states(
    outputs: torch.Tensor, lse: torch.Tensor, weights: Sequence[float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over the union of disjoint sets of keys, exactly: lse = log(sum exp(lse_i)), and the outputs weighted
    by exp(lse_i - lse). FlashInfer's attention states (Ye et al. 2025); associative and commutative.

    Args:
        outputs: [states, tokens, heads, dim], at most 64 states; dim a power of two.
        lse: natural logarithms of the softmax sums, float32 [states, tokens, heads], -inf where nothing was seen.
        weights: of each state, more than 0, multiplies its lse: the temperature and scale of APE (Yang et al. 2025).
            None for 1.

    Returns:
        output [tokens, heads, dim] in the type of `outputs`, and lse, float32 [tokens, heads]; 0 and -inf for a token
        that no state saw anything for.

    Raises:
        KernelError: shapes, types or places do not fit together, or a weight is not a positive number.
    """
    _check(outputs, lse, weights)
    if outputs.device.type != "cuda":
        return naive.merge_states(outputs, lse, weights)
    from turnout.kernels.merge_states import triton

    return triton.merge_states(outputs, lse, weights)


def _check(outputs: torch.Tensor, lse: torch.Tensor, weights: Sequence[float] | None) -> None:
    op = "merge_states"
    if outputs.dim() != 4 or lse.shape != outputs.shape[:3]:
        raise wrong(
            op,
            f"outputs {tuple(outputs.shape)} are [states, tokens, heads, dim] and lse {tuple(lse.shape)} is "
            "[states, tokens, heads]: they do not fit together",
        )
    if not 1 <= len(outputs) <= MOST_STATES:
        raise wrong(op, f"{len(outputs)} states can't be merged, only 1 to {MOST_STATES}")
    checks.power_of_two(op, 1, dim=outputs.shape[3])
    checks.floats(op, outputs=outputs)
    checks.integers(op, torch.float32, lse=lse)
    checks.places(op, outputs=outputs)
    if lse.device != outputs.device:
        raise wrong(op, f"the outputs lie on {outputs.device}, lse on {lse.device}")
    if weights is not None and len(weights) != len(outputs):
        raise wrong(op, f"{len(weights)} weights are not of {len(outputs)} states")
    for weight in weights or ():
        if not (weight > 0 and math.isfinite(weight)):
            raise wrong(op, f"a weight of {weight} is not a positive number")

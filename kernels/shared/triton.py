"""Pieces that several kernels share."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453


@triton.jit
def product(a, b, UPCAST: tl.constexpr):
    """a @ b in float32.

    Args:
        UPCAST: multiply in float32, for the interpreter, whose products in bfloat16 are wrong.
    """
    if UPCAST:
        result = tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        result = tl.dot(a, b, input_precision="ieee")
    return result


@triton.jit
def softmax_step(scores, value, most, total, output, UPCAST: tl.constexpr):
    """Online softmax in base 2 (FlashAttention-2, Dao 2023, algorithm 1): takes one tile of keys in.

    Args:
        scores: [rows, keys], -inf where a row does not see a key. value: [keys, dim].
        most, total: [rows], the highest score so far and the sum of 2 ** (score - most); output: [rows, dim].
    """
    higher = tl.maximum(most, tl.max(scores, 1))
    # A row that has seen nothing yet: -inf minus -inf is no number.
    base = tl.where(higher == -float("inf"), 0.0, higher)
    weights = tl.exp2(scores - base[:, None])
    shrink = tl.exp2(most - base)
    total = total * shrink + tl.sum(weights, 1)
    if UPCAST:
        output = tl.dot(weights, value.to(tl.float32), output * shrink[:, None], input_precision="ieee")
    else:
        output = tl.dot(weights.to(value.dtype), value, output * shrink[:, None], input_precision="ieee")
    return higher, total, output


@triton.jit
def softmax_end(most, total, output):
    """The output and the natural logarithm of the sums; 0 and -inf for a row that saw nothing."""
    seen = total > 0
    safe = tl.where(seen, total, 1.0)
    return output / safe[:, None], tl.where(seen, (most + tl.log2(safe)) * 0.6931471805599453, -float("inf"))

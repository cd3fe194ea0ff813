"""How much attention each block of queries would pay to each block of keys, estimated at a fraction of its cost."""

from __future__ import annotations

import torch

from turnout.kernels.block_scores import blocked, pooled
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong

OP = "block_scores"


def block_scores(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    scale: float,
    stride: int = 16,
    block: int = 128,
    q_start: int = 0,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Antidiagonal sums of stride x stride tiles of scores, taken for scores of whole strides: XAttention (Xu et al.
    2025). Every token of a tile takes part once, so columns and blocks always show. Of diagonals those
    show that lie an odd number of tokens back: an antidiagonal of an even stride has no others.

    The costs are those of dense attention over 2 * stride. A single key among stride - 1 others that do not matter
    keeps 1 / stride of its height.

    Args:
        q: [queries, query heads, dim]; k: [keys, key heads, dim]: keys up to the last query, q_start + queries.
        scale: of one token's score, before the softmax.
        stride: tokens; a power of two. Tokens missing in the last stride count as zeros.
        block: tokens, a multiple of stride.
        q_start: position of the first query, a multiple of stride.
        dtype: of the result.

    Returns:
        [query heads, ceil(queries / stride), ceil(keys / block)]: log2 of the sum of exp over the strides of the block
        that are not after the row's, -inf where there are none.

    Raises:
        KernelError: shapes, strides, types or places do not fit together.
    """
    _check(q, k, stride, block, q_start)
    if dtype not in checks.FLOATS:
        raise wrong(OP, f"dtype is {dtype}: one of float16, bfloat16 and float32 is needed")
    if q.device.type == "cuda" and q.dtype != torch.float32 and block // stride <= 128:
        from turnout.kernels.block_scores import triton

        checks.aligned(OP, q=q, k=k)
        return triton.block_scores(q, k, scale=scale, stride=stride, block=block, q_start=q_start, dtype=dtype)
    return blocked.block_scores(q, k, scale=scale, stride=stride, block=block, q_start=q_start).to(dtype)


def block_reduce(part: torch.Tensor, per_block: int) -> torch.Tensor:
    """Softmax mass of each block of queries on each block of keys; the masses of a query block sum up to its rows.

    Args:
        part: of `block_scores`. per_block: its rows in a block, block / stride.

    Returns:
        float32 [query heads, query blocks, key blocks]

    Raises:
        KernelError: part has other dimensions, or per_block is not positive.
    """
    if part.dim() != 3 or per_block < 1:
        raise wrong(OP, f"part {tuple(part.shape)} is [heads, rows, blocks], with {per_block} rows in a block")
    shares = torch.softmax(part.float() * 0.6931471805599453, -1)
    heads, rows, blocks = part.shape
    filled = torch.nn.functional.pad(shares, (0, 0, 0, -rows % per_block))
    return filled.view(heads, -1, per_block, blocks).sum(2)


def pooled_scores(
    q: torch.Tensor, k: torch.Tensor, *, scale: float, block: int = 128, q_start: int = 0
) -> torch.Tensor:
    """Softmax over blocks of the means' scores: FlexPrefill's estimate (Lai et al. 2025), MoBA's router.

    Args:
        q, k, scale: as in `block_scores`.
        block: tokens; q_start: position of the first query, a multiple of block.

    Returns:
        float32 [query heads, query blocks, key blocks], the rows summing up to 1; 0 for blocks that begin after the
        row's last query.

    Raises:
        KernelError: shapes, strides, types or places do not fit together.
    """
    _check(q, k, block, block, q_start)
    return pooled.pooled_scores(q, k, scale=scale, block=block, q_start=q_start)


def _check(q: torch.Tensor, k: torch.Tensor, stride: int, block: int, q_start: int) -> None:
    if q.dim() != 3 or k.dim() != 3 or q.shape[2] != k.shape[2]:
        raise wrong(
            OP,
            f"q {tuple(q.shape)} is [queries, heads, dim] and k {tuple(k.shape)} is [keys, heads, dim]: "
            "they do not fit together",
        )
    checks.heads(OP, q.shape[1], k.shape[1], q.shape[2])
    checks.floats(OP, q=q, k=k)
    checks.places(OP, q=q, k=k)
    checks.power_of_two(OP, 1, stride=stride)
    checks.power_of_two(OP, stride, block=block)
    if q_start < 0 or q_start % stride:
        raise wrong(OP, f"q_start is {q_start}: it must be a multiple of the stride, {stride}")
    if not len(q) or len(k) != q_start + len(q):
        raise wrong(OP, f"{len(k)} keys for queries from {q_start} to {q_start + len(q) - 1}: they must end together")

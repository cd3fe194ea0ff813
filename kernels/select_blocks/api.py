"""Scores of blocks in, lists of tiles out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from turnout.kernels.select_blocks import blocked
from turnout.kernels.select_blocks.rules import NAMES, Grid, Rule
from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong
from turnout.kernels.shared.index import BlockIndex

OP = "select_blocks"
SORTED = 1024
"""Tiles of a row that a GPU sorts faster than it makes a histogram of."""


def select_blocks(
    scores: torch.Tensor,
    rule: str,
    *,
    tau: float | Sequence[float] | None = None,
    k: int | Sequence[int] | None = None,
    thr: float | Sequence[float] | None = None,
    force_sink: int = 1,
    force_diag: int = 1,
    min_blocks: int = 0,
    share: str = "head",
    kv_heads: int | None = None,
    pool: str = "mean",
    block_m: int = 128,
    block_n: int = 128,
    queries: int,
    q_start: int = 0,
    kv_len: int | None = None,
    causal: bool = True,
    histogram: bool | None = None,
    validate: bool | None = None,
) -> BlockIndex:
    """The tiles that each block of queries is to read, those first that need no mask, ids ascending.

    Args:
        scores: float32 [query heads, query blocks, tiles], of `block_reduce`, `pooled_scores` or anything else; -inf
            takes a tile out of what a rule can choose.
        rule: "mass": the fewest tiles that hold the share `tau` of the row's scores, those below 0 taken for 0 (all
            from 1 on; XAttention, Xu et al. 2025). "top": the `k` highest (MInference, Jiang et al. 2024).
            "threshold": scores of `thr` or more (SeerAttention, Gao et al. 2024). Ties go to the lower id.
        tau, k, thr: the rule's own one; a sequence has one for each head of the index.
        force_sink: so many first tiles are always there.
        force_diag: so many tiles up to the block's own first one are always there, and its own later ones, if causal.
        min_blocks: a row has at least so many of the highest.
        share: "head": each query head its own list; "group": query heads that share a key head share a list; "layer":
            one for all.
        kv_heads: key heads, for "group".
        pool: "mean" or "max" of the scores of heads that share a list.
        block_m, block_n: queries of a block and keys of a tile.
        queries: of the call; q_start: position of the first one; kv_len: tokens that have keys, None up to the last
            query.
        histogram: "mass" takes whole bins of scores, a superset of less than a factor of 1.41 in the least score: fast
            for long rows. None does so on a GPU for rows of more than 1024 tiles.
        validate: whether scores are looked through for such that are no numbers, see `checks.within`.

    Raises:
        KernelError: shapes, types, places or settings do not fit together.
    """
    kv_len = q_start + queries if kv_len is None else kv_len
    grid = Grid(block_m, block_n, queries, q_start, kv_len, causal)
    values = _values(rule, {"mass": tau, "top": k, "threshold": thr})
    _check(scores, grid, force_sink, force_diag, min_blocks, validate)
    shared = _shared(scores.float(), share, kv_heads, pool)
    if len(values) not in {1, len(shared)}:
        raise wrong(OP, f"{len(values)} values for the rule are not of {len(shared)} heads")
    on_gpu = scores.device.type == "cuda"
    if histogram is None:
        histogram = on_gpu and scores.shape[2] > SORTED
    made = Rule(rule, values, force_sink, force_diag, min_blocks, histogram)
    if on_gpu:
        from turnout.kernels.select_blocks import triton

        return triton.select_blocks(shared, made, grid)
    return blocked.select_blocks(shared, made, grid)


def _values(rule: str, given: dict[str, float | Sequence[float] | None]) -> tuple[float, ...]:
    if rule not in NAMES:
        raise wrong(OP, f"{rule!r} is no rule: {', '.join(NAMES)}")
    value = given[rule]
    others = [name for name, other in given.items() if name != rule and other is not None]
    if value is None or others:
        raise wrong(OP, f"the rule {rule!r} needs its own value (tau, k or thr) and no other")
    values = tuple(float(one) for one in value) if isinstance(value, Sequence) else (float(value),)
    for one in values:
        if one != one or (rule == "mass" and not 0 <= one <= 1) or (rule == "top" and (one < 0 or one % 1)):
            raise wrong(OP, f"{one} can't be a value of the rule {rule!r}")
    return values


def _shared(scores: torch.Tensor, share: str, kv_heads: int | None, pool: str) -> torch.Tensor:
    if pool not in {"mean", "max"}:
        raise wrong(OP, f"{pool!r} is no way to pool: mean or max")
    heads = len(scores)
    if share == "head":
        return scores
    if share == "group":
        if not kv_heads or heads % kv_heads:
            raise wrong(OP, f"{heads} query heads can't share the lists of {kv_heads} key heads evenly")
        grouped = scores.view(kv_heads, -1, *scores.shape[1:])
    elif share == "layer":
        grouped = scores[None]
    else:
        raise wrong(OP, f"{share!r} is no scope: head, group or layer")
    return grouped.mean(1) if pool == "mean" else grouped.amax(1)


def _check(
    scores: torch.Tensor, grid: Grid, force_sink: int, force_diag: int, min_blocks: int, validate: bool | None
) -> None:
    checks.power_of_two(OP, 16, block_m=grid.block_m, block_n=grid.block_n)
    if grid.queries < 1 or grid.q_start < 0 or grid.kv_len < 1:
        raise wrong(OP, f"{grid.queries} queries from {grid.q_start} over {grid.kv_len} keys can't be")
    if grid.causal and grid.q_start + grid.queries > grid.kv_len:
        raise wrong(OP, f"queries up to {grid.q_start + grid.queries - 1} are not all among {grid.kv_len} keys")
    wanted = -(-grid.queries // grid.block_m), -(-grid.kv_len // grid.block_n)
    if scores.dim() != 3 or scores.shape[1:] != wanted or not len(scores):
        raise wrong(OP, f"scores {tuple(scores.shape)} are not [heads, {wanted[0]} query blocks, {wanted[1]} tiles]")
    checks.floats(OP, scores=scores)
    if min(force_sink, force_diag, min_blocks) < 0:
        raise wrong(OP, f"{force_sink} sinks, {force_diag} diagonal and {min_blocks} least tiles: none may be below 0")
    if checks.looked_at(scores, validate) and not bool((scores < torch.inf).all()):
        raise wrong(OP, "some scores are no numbers or without bound")

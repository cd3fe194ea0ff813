"""Attention of many queries of one sequence along vertical and slash lines."""

from __future__ import annotations

import torch

from turnout.kernels.shared import checks
from turnout.kernels.shared.checks import wrong
from turnout.kernels.vs_prefill import blocked
from turnout.kernels.vs_prefill.index import VsIndex, overlaps

OP = "vs_prefill"


def vs_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    index: VsIndex,
    *,
    scale: float,
    q_start: int = 0,
    kv_len: int | None = None,
    out: torch.Tensor | None = None,
    validate: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A query sees, up to itself, the keys of the index's columns and of its slash tiles, which are those of its block:
    MInference's vertical-slash attention (Jiang et al. 2024), whole tiles of it, without its index per block of
    queries.

    Args:
        q: [queries, query heads, dim]; k, v: [keys, key heads, dim].
        index: of `vs_index`, with lines of each query head, on the inputs' device; it may be used for every chunk of a
            prompt up to its reach.
        scale: of the scores, before the softmax.
        q_start: position of the first query.
        kv_len: tokens that have keys; None for all of k.
        out: where to write the output.
        validate: whether the index's values are checked; see `checks.within`.

    Returns:
        output like q, and the natural logarithm of the softmax sums, float32 [query heads, queries]; a query that sees
        nothing gives 0 and -inf.

    Raises:
        KernelError: shapes, strides, types, places or values do not fit together.
    """
    kv_len = len(k) if kv_len is None else kv_len
    _check(q, k, v, kv_len, q_start, out)
    _check_index(q, index, kv_len, validate)
    if q.device.type == "cuda" and q.dtype != torch.float32 and q.shape[2] <= 128 and index.block_m <= 128:
        from turnout.kernels.vs_prefill import triton

        checks.aligned(OP, q=q, k=k, v=v)
        return triton.vs_prefill(q, k, v, index, scale=scale, q_start=q_start, kv_len=kv_len, out=out)
    return blocked.vs_prefill(q, k, v, index, scale=scale, q_start=q_start, kv_len=kv_len, out=out)


def _check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kv_len: int, q_start: int, out: torch.Tensor | None
) -> None:
    if q.dim() != 3 or k.dim() != 3 or k.shape != v.shape or q.shape[2] != k.shape[2]:
        raise wrong(
            OP,
            f"q {tuple(q.shape)} is [queries, heads, dim], k {tuple(k.shape)} and v {tuple(v.shape)} are "
            "[keys, heads, dim]: they do not fit together",
        )
    checks.heads(OP, q.shape[1], k.shape[1], q.shape[2])
    checks.floats(OP, q=q, k=k, v=v)
    checks.places(OP, q=q, k=k, v=v, out=out)
    if not len(q) or not 1 <= kv_len <= len(k):
        raise wrong(OP, f"{len(q)} queries over {kv_len} keys can't be: there must be some, and {len(k)} are given")
    if q_start < 0 or q_start + len(q) > kv_len:
        raise wrong(OP, f"queries {q_start} to {q_start + len(q) - 1} are not all among the {kv_len} keys")
    if out is not None and (out.shape != q.shape or out.dtype != q.dtype):
        raise wrong(OP, f"out is {out.dtype} {tuple(out.shape)}, the output {q.dtype} {tuple(q.shape)}")


def _check_index(q: torch.Tensor, index: VsIndex, kv_len: int, validate: bool | None) -> None:
    parts = {"rel": index.rel, "n_rel": index.n_rel, "cols": index.cols, "n_cols": index.n_cols}
    checks.power_of_two(OP, 16, block_m=index.block_m, block_n=index.block_n)
    checks.integers(OP, torch.int32, **parts)
    checks.integers(OP, torch.int8, cov=index.cov)
    checks.places(OP, q=q, cov=index.cov, **parts)
    for name, tensor in {**parts, "cov": index.cov}.items():
        if tensor.dim() != (1 if name.startswith("n_") else 2) or len(tensor) != q.shape[1]:
            raise wrong(OP, f"the index's {name} {tuple(tensor.shape)} is not of {q.shape[1]} heads")
        if not tensor.is_contiguous():
            raise wrong(OP, f"the index's {name} has strides {tensor.stride()}: it must lie together in memory")
    if index.reach < kv_len:
        raise wrong(OP, f"the index reaches over {index.reach} keys, not over {kv_len}")
    checks.within(OP, "n_rel", index.n_rel, 0, index.rel.shape[1] + 1, validate=validate)
    checks.within(OP, "n_cols", index.n_cols, 0, index.cols.shape[1] + 1, validate=validate)
    checks.within(OP, "cols", index.cols, 0, index.reach, validate=validate)
    checks.within(OP, "rel", index.rel, -index.block_m, index.reach, validate=validate)
    if checks.looked_at(index.rel, validate):
        if overlaps(index):
            raise wrong(OP, "the index's tiles overlap or do not go from far to near: keys would count twice")
        real = torch.arange(index.cols.shape[1], device=index.cols.device) < index.n_cols[:, None]
        steps = index.cols[:, 1:] <= index.cols[:, :-1]
        if bool((steps & real[:, 1:]).any()):
            raise wrong(OP, "the index's columns do not ascend: keys would count twice")

"""Lists of tiles out of scores, all rows at once in plain torch."""

from __future__ import annotations

import torch

from turnout.kernels.select_blocks.rules import BINS, PER_OCTAVE, Grid, Rule
from turnout.kernels.shared.index import BlockIndex, from_mask, tiles_seen


def select_blocks(scores: torch.Tensor, rule: Rule, grid: Grid) -> BlockIndex:
    """See `api.select_blocks`."""
    chosen = by_rule(scores, rule, grid)
    return from_mask(
        forced(chosen, scores, rule, grid),
        grid.block_m, grid.block_n,
        queries=grid.queries, q_start=grid.q_start, kv_len=grid.kv_len, causal=grid.causal,
    )  # fmt: skip


def by_rule(scores: torch.Tensor, rule: Rule, grid: Grid) -> torch.Tensor:
    """bool like scores, what the rule takes; tiles that no query sees may be among them."""
    values = torch.tensor(rule.value, device=scores.device)[:, None, None]
    scores = unseen_left_out(scores, grid)
    if rule.name == "top":
        return _ranks(scores) < values
    if rule.name == "threshold":
        return scores >= values
    scores = scores.clamp(min=0).double()
    wanted = scores.sum(-1, keepdim=True) * values
    if rule.histogram:
        bins = bins_of(scores)
        # One bin more, for what has no mass.
        masses = torch.zeros(*scores.shape[:2], BINS + 1, dtype=scores.dtype, device=scores.device)
        masses.scatter_add_(2, bins, scores)
        before = masses.cumsum(-1) - masses
        needed = (before < wanted) & (masses > 0)
        return needed.gather(2, bins) & (scores > 0) | (values >= 1)
    ordered, places = scores.sort(dim=-1, descending=True, stable=True)
    needed = (ordered.cumsum(-1) - ordered < wanted) & (ordered > 0)
    return torch.zeros_like(needed).scatter_(2, places, needed) | (values >= 1)


def forced(chosen: torch.Tensor, scores: torch.Tensor, rule: Rule, grid: Grid) -> torch.Tensor:
    """With the tiles that are always taken."""
    blocks, tiles = chosen.shape[1:]
    at = torch.arange(tiles, device=chosen.device)
    if rule.min_blocks:
        chosen = chosen | (_ranks(unseen_left_out(scores, grid)) < rule.min_blocks)
    chosen = chosen | (at < rule.force_sink)
    if rule.force_diag and grid.causal:
        first = grid.q_start + torch.arange(blocks, device=chosen.device) * grid.block_m
        chosen = chosen | (at > (first // grid.block_n - rule.force_diag)[:, None])
    return chosen


def bins_of(scores: torch.Tensor) -> torch.Tensor:
    """int64 like scores: half powers of two below the row's highest score; BINS where there is no mass."""
    most = scores.amax(-1, keepdim=True)
    bins = ((most.log2() - scores.log2()) * PER_OCTAVE).floor().clamp(0, BINS - 1)
    return torch.where(scores > 0, bins, BINS).long()


def unseen_left_out(scores: torch.Tensor, grid: Grid) -> torch.Tensor:
    """-inf for tiles that no query of the block sees."""
    blocks, tiles = scores.shape[1:]
    _, seen = tiles_seen(
        blocks, grid.block_m, grid.block_n, queries=grid.queries, q_start=grid.q_start, kv_len=grid.kv_len,
        causal=grid.causal, device=str(scores.device),
    )  # fmt: skip
    return scores.masked_fill(torch.arange(tiles, device=scores.device) >= seen[:, None], -torch.inf)


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """How many tiles of the row come before each one; those of -inf come last of all, past every count."""
    places = scores.sort(dim=-1, descending=True, stable=True).indices
    counts = torch.arange(scores.shape[-1], device=scores.device).expand_as(places)
    ranks = torch.empty_like(places).scatter_(2, places, counts)
    return ranks.masked_fill(scores == -torch.inf, 2**31)

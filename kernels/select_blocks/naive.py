"""Lists of tiles out of scores, row by row: the truth that the fast paths are held to."""

from __future__ import annotations

import math

import torch

from turnout.kernels.select_blocks.rules import BINS, PER_OCTAVE, Grid, Rule
from turnout.kernels.shared.index import BlockIndex


def select_blocks(scores: torch.Tensor, rule: Rule, grid: Grid) -> BlockIndex:
    """See `api.select_blocks`.

    Args:
        scores: shared already, [heads of the index, query blocks, tiles].
    """
    indptr, indices, n_full = [0], [], []
    for head, rows in enumerate(scores.tolist()):
        for block, row in enumerate(rows):
            first = grid.q_start + block * grid.block_m
            last = min(first + grid.block_m, grid.q_start + grid.queries) - 1
            whole, seen = [], []
            for tile in range(len(row)):
                begin, end = tile * grid.block_n, (tile + 1) * grid.block_n - 1
                if begin < grid.kv_len and (begin <= last or not grid.causal):
                    seen.append(tile)
                    if end < grid.kv_len and (end <= first or not grid.causal):
                        whole.append(tile)
            ranked = sorted((tile for tile in seen if row[tile] > -math.inf), key=lambda tile: (-row[tile], tile))
            chosen = set(_chosen(row, ranked, seen, rule, head)) | set(ranked[: rule.min_blocks])
            chosen |= set(seen[: rule.force_sink])
            if rule.force_diag and grid.causal:
                chosen |= {tile for tile in seen if tile > first // grid.block_n - rule.force_diag}
            ids = sorted(chosen & set(whole)) + sorted(chosen - set(whole))
            indices += ids
            indptr.append(len(indices))
            n_full.append(len(chosen & set(whole)))
    made = [torch.tensor(numbers, dtype=torch.int32) for numbers in (indptr, indices, n_full)]
    return BlockIndex(made[0], made[1], made[2], grid.block_m, grid.block_n, len(scores))


def _chosen(row: list[float], ranked: list[int], seen: list[int], rule: Rule, head: int) -> list[int]:
    value = rule.value[head] if len(rule.value) > 1 else rule.value[0]
    if rule.name == "top":
        return ranked[: int(value)]
    if rule.name == "threshold":
        return [tile for tile in ranked if row[tile] >= value]
    if value >= 1:
        return seen
    ranked = [tile for tile in ranked if row[tile] > 0]
    total = math.fsum(row[tile] for tile in ranked)
    taken: list[int] = []
    for tile in ranked:
        if math.fsum(row[other] for other in taken) >= value * total:
            break
        taken.append(tile)
    if rule.histogram and taken:
        bins = {tile: _bin(row[tile], row[ranked[0]]) for tile in ranked}
        taken = [tile for tile in ranked if bins[tile] <= bins[taken[-1]]]
    return taken


def _bin(score: float, most: float) -> int:
    return min(int((math.log2(most) - math.log2(score)) * PER_OCTAVE), BINS - 1)

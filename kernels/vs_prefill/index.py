"""Vertical and slash lines as an index that is the same for all blocks of queries.

A slash line lies equally far before every query, so its tiles are the same for all blocks once they are counted from
the block's first query; a vertical line is the same key for all. The index is as long as a head's lines, however long
the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from turnout.kernels.shared.checks import wrong


@dataclass(frozen=True)
class VsIndex:
    """
    Attributes:
        rel: int32 [heads, most tiles], descending: a tile begins so many keys before the block's first query; below 0
            after it. n_rel: int32 [heads], how many are real.
        cols: int32 [heads, most columns], ascending keys. n_cols: int32 [heads].
        cov: int8 [heads, reach + 2 * block_m + 2 * block_n]: whether a tile holds the key that lies `place - block_m -
            block_n` keys before the block's first query, so that columns count once.
        block_m, block_n: queries of a block and keys of a tile.
    """

    rel: torch.Tensor
    n_rel: torch.Tensor
    cols: torch.Tensor
    n_cols: torch.Tensor
    cov: torch.Tensor
    block_m: int
    block_n: int

    @property
    def slack(self) -> int:
        """The place in `cov` of the block's first query: tiles reach past the diagonal by up to that much."""
        return self.block_m + self.block_n

    @property
    def reach(self) -> int:
        """Keys that a prompt may have."""
        return self.cov.shape[1] - 2 * self.slack


def tiles_of(offsets: Sequence[int], block_m: int, block_n: int) -> list[int]:
    """Tiles, without overlap, over the keys that the block's queries see `offsets` keys back: from far to near.

    Args:
        offsets: 0 or more, descending.
    """
    runs: list[list[int]] = []  # begin and end, keys after the block's first query
    for offset in offsets:
        if runs and -offset <= runs[-1][1]:
            runs[-1][1] = block_m - offset
        else:
            runs.append([-offset, block_m - offset])
    tiles: list[int] = []
    covered = None
    for begin, end in runs:
        # A run that begins within the last tile, or right after it, goes on with whole tiles.
        at = begin if covered is None or begin > covered else covered
        while at < end:
            tiles.append(-at)
            at += block_n
        covered = at
    return tiles


def vs_index(
    slashes: Sequence[Sequence[int]],
    columns: Sequence[Sequence[int]],
    *,
    reach: int,
    block_m: int = 64,
    block_n: int = 64,
    device: torch.device | str = "cpu",
) -> VsIndex:
    """The index of some lines of each head.

    Args:
        slashes: of each head, how many keys back; columns: of each head, keys.
        reach: keys that the prompt will have.

    Raises:
        KernelError: heads, lines or blocks can't be.
    """
    if len(slashes) != len(columns) or not slashes:
        raise wrong("vs_prefill", f"slashes of {len(slashes)} heads and columns of {len(columns)}")
    if min(block_m, block_n) < 16 or block_m & (block_m - 1) or block_n & (block_n - 1):
        raise wrong("vs_prefill", f"blocks of {block_m} by {block_n} can't be: powers of two, 16 or more")
    for name, lines in (("slash", slashes), ("column", columns)):
        for line in (line for own in lines for line in own):
            if not 0 <= line < reach:
                raise wrong("vs_prefill", f"a {name} at {line} is outside of 0 to {reach - 1}")
    slack = block_m + block_n
    tiles = [tiles_of(sorted(set(own), reverse=True), block_m, block_n) for own in slashes]
    cov = torch.zeros(len(tiles), reach + 2 * slack, dtype=torch.int8)
    for head, own_tiles in enumerate(tiles):
        for tile in own_tiles:
            cov[head, tile - block_n + 1 + slack : tile + 1 + slack] = 1
    rel, n_rel = _padded(tiles, device)
    cols, n_cols = _padded([sorted(set(own)) for own in columns], device)
    return VsIndex(rel, n_rel, cols, n_cols, cov.to(device), block_m, block_n)


def _padded(rows: Sequence[Sequence[int]], device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    most = max(1, *map(len, rows))
    filled = torch.zeros(len(rows), most, dtype=torch.int32)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return filled.to(device), torch.tensor([len(row) for row in rows], dtype=torch.int32, device=device)


def chosen_lines(
    columns: torch.Tensor,
    diagonals: torch.Tensor,
    *,
    n_vert: int | Sequence[int],
    n_slash: int | Sequence[int],
    sinks: int = 30,
    newest: int = 100,
) -> tuple[list[list[int]], list[list[int]]]:
    """The strongest lines of each head: MInference (Jiang et al. 2024).

    Args:
        columns, diagonals: of `vs_probe`, [heads, keys].
        n_vert, n_slash: lines, the forced ones among them; one number, or one per head.
        sinks: first columns that are always there; newest: nearest slashes that are always there.

    Returns:
        slashes and columns of each head, for `vs_index`.

    Raises:
        KernelError: shapes or numbers do not fit together.
    """
    if columns.dim() != 2 or columns.shape != diagonals.shape:
        raise wrong("vs_prefill", f"columns {tuple(columns.shape)} and diagonals {tuple(diagonals.shape)} differ")
    heads, keys = columns.shape
    found: list[list[list[int]]] = []
    for sums, numbers, forced in ((diagonals, n_slash, newest), (columns, n_vert, sinks)):
        counts = [numbers] * heads if isinstance(numbers, int) else list(numbers)
        if len(counts) != heads or min(*counts, forced) < 0:
            raise wrong("vs_prefill", f"{numbers} lines of {heads} heads, {forced} of them forced, can't be")
        sums = sums.clone()
        sums[:, :forced] = torch.inf
        ranked = sums.topk(min(max(counts), keys), dim=1).indices.tolist()
        found.append([row[:count] for row, count in zip(ranked, counts, strict=True)])
    return found[0], found[1]


def lines_for(sums: torch.Tensor, share: float, *, forced: int, most: int) -> list[int]:
    """How many lines of each head hold a share of its mass: the forced ones, then the strongest others, up to `most`
    (SampleAttention: Zhu et al. 2024; the same rule in FlexPrefill: Lai et al. 2025).

    Args:
        sums: [heads, keys], of `vs_probe`.
        forced: first lines that are always there.
        most: lines at most, the forced ones among them; never fewer than these are taken.

    Raises:
        KernelError: the shape or a number can't be.
    """
    if sums.dim() != 2 or not 0 < share <= 1 or min(forced, most) < 0:
        raise wrong("vs_prefill", f"a share of {share} of {tuple(sums.shape)}, {forced} to {most} lines, can't be")
    sums = sums.double().clamp(min=0)
    begun = sums[:, :forced].sum(1, keepdim=True)
    others = sums[:, forced:].sort(dim=1, descending=True).values
    before = begun + others.cumsum(1) - others
    missing = (before < share * sums.sum(1, keepdim=True)) & (others > 0)
    return [min(forced + count, max(most, forced)) for count in missing.sum(1).tolist()]


def overlaps(index: VsIndex) -> bool:
    """Whether two tiles of a head share a key, which would count twice."""
    for row, count in zip(index.rel.tolist(), index.n_rel.tolist(), strict=True):
        if any(far - near < index.block_n for far, near in pairwise(row[:count])):
            return True
    return False

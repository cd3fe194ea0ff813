"""What a selection is made by, and the grid of tiles that it is made on."""

from __future__ import annotations

from dataclasses import dataclass

BINS = 64
PER_OCTAVE = 2
"""Bins of the histogram by powers of two of the score: a bin's scores differ by a factor of 1.41 at most."""

NAMES = ("mass", "top", "threshold")


@dataclass(frozen=True)
class Rule:
    """
    Attributes:
        name: "mass", "top" or "threshold".
        value: the share of the mass, the number of tiles or the least score; one, or one per head of the index.
        histogram: whether "mass" takes whole bins of scores instead of sorting them.
    """

    name: str
    value: tuple[float, ...]
    force_sink: int
    force_diag: int
    min_blocks: int
    histogram: bool


@dataclass(frozen=True)
class Grid:
    """
    Attributes:
        block_m, block_n: queries of a block and keys of a tile.
        queries: of the call; q_start: position of the first one; kv_len: tokens that have keys.
    """

    block_m: int
    block_n: int
    queries: int
    q_start: int
    kv_len: int
    causal: bool

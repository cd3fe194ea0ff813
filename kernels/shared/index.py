"""Which tiles of keys each block of queries reads: what selection fills in and prefill reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from turnout.kernels.shared.checks import wrong

MOST = 2**31
"""Ids of an index are counted in int32."""


@dataclass(frozen=True)
class BlockIndex:
    """Lists of tiles in compressed rows, one row for each head and query block, row order head * blocks + block.

    Attributes:
        indptr: int32 [heads * blocks + 1], where each row begins in `indices`.
        indices: int32, key tiles without repeats; those that need no mask come first.
        n_full: int32 [heads * blocks], how many of a row need no mask: all queries of the block see all of their keys.
        block_m, block_n: queries of a block and keys of a tile.
        heads: query heads, key heads or 1: how many have lists of their own.
    """

    indptr: torch.Tensor
    indices: torch.Tensor
    n_full: torch.Tensor
    block_m: int
    block_n: int
    heads: int

    @property
    def blocks(self) -> int:
        """Query blocks."""
        return len(self.n_full) // self.heads

    @property
    def rows(self) -> torch.Tensor:
        """int64, the row of each id."""
        counts = (self.indptr[1:] - self.indptr[:-1]).long()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def mask(self, tiles: int) -> torch.Tensor:
        """bool [heads, blocks, tiles]"""
        chosen = torch.zeros(len(self.n_full), tiles, dtype=torch.bool, device=self.indices.device)
        chosen[self.rows, self.indices.long()] = True
        return chosen.view(self.heads, -1, tiles)


def tiles_seen(
    blocks: int,
    block_m: int,
    block_n: int,
    *,
    queries: int,
    q_start: int,
    kv_len: int,
    causal: bool,
    device: str = "cpu",
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many leading tiles all queries of a block see whole, and how many any of them sees: int64 [blocks] each."""
    first = q_start + torch.arange(blocks, device=device) * block_m
    last = torch.clamp(first + block_m, max=q_start + queries)
    if not causal:
        first, last = torch.full_like(first, kv_len), torch.full_like(last, kv_len)
    whole = torch.clamp(first + 1, max=kv_len) if causal else first
    return whole // block_n, (torch.clamp(last, max=kv_len) + block_n - 1) // block_n


def from_mask(
    chosen: torch.Tensor,
    block_m: int,
    block_n: int,
    *,
    queries: int,
    q_start: int = 0,
    kv_len: int,
    causal: bool = True,
) -> BlockIndex:
    """The index of the chosen tiles, ids ascending; tiles that no query of a block sees are left out.

    Args:
        chosen: bool [heads, query blocks, tiles].
        queries: of the call; the last block may have fewer than block_m.
        q_start: position of the first query.
        kv_len: tokens that have keys.

    Raises:
        KernelError: there are more tiles than int32 counts.
    """
    heads, blocks, tiles = chosen.shape
    device = str(chosen.device)
    whole, seen = tiles_seen(
        blocks, block_m, block_n, queries=queries, q_start=q_start, kv_len=kv_len, causal=causal, device=device
    )
    at = torch.arange(tiles, device=device)
    chosen = chosen & (at < seen[:, None])
    counts = chosen.sum(-1).flatten()
    indptr = torch.zeros(heads * blocks + 1, dtype=torch.int64, device=device)
    torch.cumsum(counts, 0, out=indptr[1:])
    indices = chosen.nonzero()[:, 2]
    if len(indices) >= MOST:
        raise wrong(
            "select_blocks", f"{len(indices)} chosen tiles are too many for one call: take the queries in parts"
        )
    # A tile that is seen whole lies before all that are not, so ascending ids have the full ones first.
    full = (chosen & (at < whole[:, None])).sum(-1).flatten()
    return BlockIndex(indptr.int(), indices.int(), full.int(), block_m, block_n, heads)


def check_values(
    op: str, index: BlockIndex, *, queries: int, q_start: int, kv_len: int, causal: bool, window: bool
) -> None:
    """Rows in order, ids in range and without repeats, and full ones that are seen whole.

    Args:
        window: whether there is one; its edge decides what is whole then, which is not checked.

    Raises:
        KernelError: it is not so; the value is named.
    """
    tiles = -(-kv_len // index.block_n)
    counts = index.indptr[1:] - index.indptr[:-1]
    if int(index.indptr[0]) or int(counts.min()) < 0 or int(index.indptr[-1]) != len(index.indices):
        raise wrong(op, f"the index's rows do not run from 0 up to its {len(index.indices)} ids")
    if bool(((index.n_full < 0) | (index.n_full > counts)).any()):
        raise wrong(op, "a row of the index has fewer ids than n_full says are full")
    if not len(index.indices):
        return
    least, most = int(index.indices.min()), int(index.indices.max())
    if least < 0 or most >= tiles:
        raise wrong(op, f"the index names tile {least if least < 0 else most}, outside of 0 to {tiles - 1}")
    rows = index.rows
    named = torch.sort(rows * tiles + index.indices).values
    if bool((named[1:] == named[:-1]).any()):
        raise wrong(op, "a row of the index names a tile twice")
    if window:
        return
    whole, _ = tiles_seen(
        index.blocks, index.block_m, index.block_n,
        queries=queries, q_start=q_start, kv_len=kv_len, causal=causal, device=str(rows.device),
    )  # fmt: skip
    place = torch.arange(len(rows), device=rows.device) - index.indptr.long()[rows]
    claimed = (place < index.n_full[rows]) & (index.indices >= whole[rows % index.blocks])
    if bool(claimed.any()):
        raise wrong(
            op, f"the index calls tile {int(index.indices[claimed][0])} full, which some query does not see whole"
        )

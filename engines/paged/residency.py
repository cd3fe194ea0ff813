"""What of which beginnings is resident: the pool, its prefix tree, and the tiers below it."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.engines.paged.pages import PAGE, PagePool
from turnout.engines.paged.prefix import PrefixTree
from turnout.engines.paged.tiers import BLOCK, Block, Tier, names, resident


class Residency:
    """Hands out pages, finds beginnings that were read before, and makes room.

    What `root` a beginning hangs from separates those that were computed with other things, and those that must not
    find one another's.

    Args:
        tiers: the fastest first.
    """

    def __init__(self, pool: PagePool, tiers: Sequence[Tier] = ()) -> None:
        self.pool = pool
        self._tree = PrefixTree(pool)
        self._tiers = tuple(tiers)

    def take(self, count: int, after: int | None = None) -> list[int]:
        """Pages for one user; beginnings that nobody uses make room for them.

        Raises:
            MemoryLimitError: not so many are free, even then.
        """
        missing = count - self.pool.free
        # What can't be served must not cost others what they have read.
        if 0 < missing <= self._tree.evictable():
            self._tree.evict(missing)
        return self.pool.take(count, after)

    def available(self) -> int:
        """Pages that `take` could give."""
        return self.pool.free + self._tree.evictable()

    def spare(self) -> int:
        """Pages that `take` could give without more memory of the system."""
        return self.pool.idle + self._tree.evictable()

    def resident(self, root: str, ids: Sequence[int], grid: int = PAGE) -> int:
        """Tokens of the longest beginning that need not be read again; nothing is loaded.

        Args:
            grid: tokens that are computed together, a multiple of a page: only whole ones are found. It is the same in
                every call for a root.
        """
        return resident(self._tiers, root, ids, self._tree.resident(root, ids, grid), grid)

    def match(self, root: str, ids: Sequence[int], grid: int = PAGE) -> list[int]:
        """The pages of the longest resident beginning, loaded where it lay in a tier; the caller drops them.

        Args:
            grid: see `resident`.
        """
        pages = self._tree.match(root, ids, grid)
        try:
            for end, name, tokens in _blocks(root, ids, grid) if self._tiers else ():
                if end <= len(pages) * PAGE:
                    continue
                block = self._from_tiers(name, tokens)
                if block is None or self.available() < BLOCK // PAGE:
                    break
                first = (end - BLOCK) // PAGE
                self.pool.drop(pages[first:])
                del pages[first:]
                pages += self._fill(block, pages[-1] if pages else None)
                self._tree.insert(root, ids[:end], pages, grid)
        except BaseException:
            self.pool.drop(pages)
            raise
        whole = len(pages) * PAGE // grid * grid // PAGE
        self.pool.drop(pages[whole:])
        return pages[:whole]

    def keep(self, root: str, ids: Sequence[int], pages: Sequence[int], grid: int = PAGE) -> None:
        """Makes the whole pages of a beginning resident; `grid` as in `resident`."""
        self._tree.insert(root, ids, pages, grid)

    def save(self, root: str, ids: Sequence[int], pages: Sequence[int], grid: int = PAGE) -> None:
        """Writes the whole blocks of a beginning into the tiers that lack them, as many as a tier has room for.

        The last ones first: a beginning is only as long as its first block that is missing, so those must be the last
        ones to go.
        """
        blocks = _blocks(root, ids, grid) if self._tiers else []
        block_bytes = BLOCK // PAGE * self.pool.page_bytes
        for place, (end, name, tokens) in reversed(list(enumerate(blocks))):
            missing = []
            for tier in self._tiers:
                if tier.has(name):
                    tier.touch(name)
                elif (place + 1) * block_bytes <= tier.limit_bytes:
                    missing.append(tier)
            if missing:
                block = self._block(tokens, pages[(end - BLOCK) // PAGE : end // PAGE])
                for tier in missing:
                    tier.put(name, block)

    def clear(self) -> None:
        """Forgets every beginning that nobody uses now; tiers keep theirs."""
        self._tree.evict(self.pool.size)

    def _from_tiers(self, name: str, tokens: tuple[int, ...]) -> Block | None:
        for tier in self._tiers:
            block = tier.get(name)
            if block is not None and block.ids == tokens and self._fits(block):
                return block
        return None

    def _fits(self, block: Block) -> bool:
        shape, keys = self.pool.shape, self.pool.keys[0]
        wanted = (shape.layers, BLOCK, shape.heads, shape.dim)
        return all(tuple(part.shape) == wanted and part.dtype == keys.dtype for part in (block.keys, block.values))

    def _fill(self, block: Block, after: int | None) -> list[int]:
        pages = self.take(BLOCK // PAGE, after)
        for part, layers in ((block.keys, self.pool.keys), (block.values, self.pool.values)):
            for source, target in zip(part, layers, strict=True):
                for place, page in enumerate(pages):
                    target[page * PAGE : (page + 1) * PAGE] = source[place * PAGE : (place + 1) * PAGE]
        return pages

    def _block(self, tokens: tuple[int, ...], pages: Sequence[int]) -> Block:
        import torch

        slots = torch.tensor([page * PAGE + at for page in pages for at in range(PAGE)])
        keys, values = (
            torch.stack([layer[slots.to(layer.device)] for layer in layers]).cpu()
            for layers in (self.pool.keys, self.pool.values)
        )
        return Block(tokens, keys, values)


def _blocks(root: str, ids: Sequence[int], grid: int) -> list[tuple[int, str, tuple[int, ...]]]:
    """(end, name, tokens) of each whole block."""
    return [((place + 1) * BLOCK, name, tokens) for place, (name, tokens) in enumerate(names(root, ids, grid))]

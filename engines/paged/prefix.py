"""The prefix tree: which token sequences have their keys and values in the pool, page by page.

Causal attention makes the cache of a beginning independent of what follows, so a page is found again by the tokens from
the start of its sequence to its end. Children are kept by their tokens themselves: two different texts can't be taken
for one another. With an attention policy a page depends on all tokens of the chunk that it was read in, so it is found
by those. What a beginning was computed with (the fingerprint of model, precision, positions and attention) is
the root that it hangs from.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from turnout.engines.paged.pages import PAGE, PagePool


@dataclass(slots=True, eq=False)
class Node:
    """One page after its parent's, and the tokens that it depends on besides."""

    page: int
    tokens: bytes
    parent: Node | None
    used: int = 0
    children: dict[bytes, Node] = field(default_factory=dict)


class PrefixTree:
    """Keeps pages of finished prompts until their memory is needed for others."""

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._roots: dict[str, Node] = {}
        self._clock = count(1)

    def match(self, root: str, ids: Sequence[int], grid: int = PAGE) -> list[int]:
        """The pages of the longest beginning of `ids` that is here. They are now shared with the caller, who drops them
        when done.

        Args:
            grid: tokens that are computed together, a multiple of a page; the same in every call for a root.
        """
        found = list(self._walk(root, ids, grid))
        found = found[: len(found) * PAGE // grid * grid // PAGE]
        now = next(self._clock)
        for node in found:
            node.used = now
        pages = [node.page for node in found]
        self._pool.share(pages)
        return pages

    def resident(self, root: str, ids: Sequence[int], grid: int = PAGE) -> int:
        """How many tokens `match` would find; nothing is taken."""
        return sum(1 for _ in self._walk(root, ids, grid)) * PAGE // grid * grid

    def insert(self, root: str, ids: Sequence[int], pages: Sequence[int], grid: int = PAGE) -> int:
        """Keeps the pages of a beginning's whole multiples of `grid`; where one is here already, it stays and the
        caller's is not kept.

        Returns:
            How many pages are new.
        """
        node = self._roots.setdefault(root, Node(-1, b"", None))
        now, new = next(self._clock), 0
        for tokens, page in zip(_pages(ids, grid), pages, strict=False):
            child = node.children.get(tokens)
            if child is None:
                child = node.children[tokens] = Node(page, tokens, node)
                self._pool.share([page])
                new += 1
            child.used = now
            node = child
        return new

    def evict(self, count: int) -> int:
        """Gives up to `count` pages back to the pool: those that nobody else uses, without children, the least recently
        used first.

        Returns:
            How many were given back.
        """
        order = count_from = 0
        leaves: list[tuple[int, int, Node]] = []
        for node in self._nodes():
            if not node.children and self._idle(node):
                leaves.append((node.used, order := order + 1, node))
        heapq.heapify(leaves)
        while leaves and count_from < count:
            _, _, node = heapq.heappop(leaves)
            parent = node.parent
            assert parent is not None  # noqa: S101 - roots hold no page and are no leaves here
            del parent.children[node.tokens]
            self._pool.drop([node.page])
            count_from += 1
            if parent.parent is not None and not parent.children and self._idle(parent):
                heapq.heappush(leaves, (parent.used, order := order + 1, parent))
        return count_from

    def evictable(self) -> int:
        """Pages that `evict` could give back at most."""
        can: dict[Node, bool] = {}
        for node in reversed(list(self._nodes())):  # children before their parents
            can[node] = self._idle(node) and all(can[child] for child in node.children.values())
        return sum(can.values())

    def __len__(self) -> int:
        return sum(1 for _ in self._nodes())

    def _idle(self, node: Node) -> bool:
        return self._pool.users(node.page) == 1

    def _walk(self, root: str, ids: Sequence[int], grid: int) -> Iterator[Node]:
        node = self._roots.get(root)
        for tokens in _pages(ids, grid) if node else ():
            node = node.children.get(tokens) if node else None
            if node is None:
                return
            yield node

    def _nodes(self) -> Iterator[Node]:
        """Parents before their children."""
        open_ = [child for root in self._roots.values() for child in root.children.values()]
        while open_:
            node = open_.pop()
            yield node
            open_.extend(node.children.values())


def _pages(ids: Sequence[int], grid: int) -> Iterator[bytes]:
    """What each page depends on, besides the pages before it."""
    for begin in range(0, len(ids) - grid + 1, grid):
        tokens = array("I", ids[begin : begin + grid]).tobytes()
        for _ in range(grid // PAGE):
            yield tokens

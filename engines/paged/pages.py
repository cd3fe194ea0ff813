"""Pages: the keys and values of every sequence on a device, in one pool.

A page holds PAGE tokens of all layers. Pages are counted by who uses them, so that sequences with the same beginning
share it. They are laid out by token, [page, token, head, dim]: pages that follow one another are then one plain tensor
of tokens, and attention reads it as a view, without gathering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MemoryLimitError

if TYPE_CHECKING:
    import torch

PAGE = 64
"""Tokens of a page."""


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token leaves in the cache: keys and values of `layers` layers with `heads` heads of `dim` numbers."""

    layers: int
    heads: int
    dim: int

    def page_bytes(self, number_bytes: int) -> int:
        """Memory of one page."""
        return 2 * self.layers * self.heads * self.dim * PAGE * number_bytes


def pages_for(tokens: int) -> int:
    """Pages that `tokens` tokens take."""
    return -(-tokens // PAGE)


class PagePool:
    """A fixed number of pages. On the CPU their memory is only taken when they are first written.

    Attributes:
        keys, values: for each layer, [pages * PAGE, heads, dim].
    """

    def __init__(self, shape: KvShape, pages: int, dtype: torch.dtype, device: str) -> None:
        import torch

        self.shape = shape
        self.size = pages
        self.page_bytes = shape.page_bytes(dtype.itemsize)
        flat = (pages * PAGE, shape.heads, shape.dim)
        self.keys = [torch.empty(flat, dtype=dtype, device=device) for _ in range(shape.layers)]
        self.values = [torch.empty(flat, dtype=dtype, device=device) for _ in range(shape.layers)]
        self._users: NDArray[np.int32] = np.zeros(pages, np.int32)
        self._touched: NDArray[np.bool_] = np.full(pages, device != "cpu")

    @property
    def touched(self) -> int:
        """Pages whose memory was taken from the system."""
        return int(np.count_nonzero(self._touched))

    @property
    def idle(self) -> int:
        """Pages that nobody uses, and whose memory was taken from the system."""
        return int(np.count_nonzero(self._touched & (self._users == 0)))

    @property
    def free(self) -> int:
        """Pages that nobody uses."""
        return int(np.count_nonzero(self._users == 0))

    def users(self, page: int) -> int:
        """How many use a page."""
        return int(self._users[page])

    def take(self, count: int, after: int | None = None) -> list[int]:
        """Pages for one user: those that follow the page `after` if they are free, else a run of pages if there is one.

        Raises:
            MemoryLimitError: fewer than `count` are free; none is taken.
        """
        found = self._find(count, after)
        if len(found) < count:
            raise MemoryLimitError(
                f"{count:,} pages of {PAGE} tokens are needed, {len(found):,} of {self.size:,} are free",
                hint="give fewer documents, or allow the cache more memory",
            )
        self._users[found] = 1
        self._touched[found] = True
        return [int(page) for page in found]

    def share(self, pages: Sequence[int]) -> None:
        """One more user for each of the pages."""
        self._users[list(pages)] += 1

    def drop(self, pages: Sequence[int]) -> None:
        """One user less for each of the pages; what nobody uses is free."""
        self._users[list(pages)] -= 1

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copies the first tokens of a page, in all layers."""
        a, b = source * PAGE, target * PAGE
        for tensor in (*self.keys, *self.values):
            tensor[b : b + tokens] = tensor[a : a + tokens]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copies tokens from slots to slots, in all layers; what is copied is as it was before."""
        import torch

        device = self.keys[0].device
        at, to = (torch.tensor(slots, device=device) for slots in (sources, targets))
        for tensor in (*self.keys, *self.values):
            tensor[to] = tensor[at]

    def _find(self, count: int, after: int | None) -> NDArray[np.int64]:
        free = np.flatnonzero(self._users == 0)
        if after is not None:
            place = int(np.searchsorted(free, after + 1))
            following = free[place : place + count]
            if len(following) == count and np.array_equal(following, np.arange(after + 1, after + 1 + count)):
                return following
        breaks = np.flatnonzero(np.diff(free) != 1) + 1
        starts, ends = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(free)]])
        lengths = ends - starts
        fitting = np.flatnonzero(lengths >= count)
        if fitting.size:
            # The smallest run that is long enough: long ones stay whole for long prompts.
            start = starts[fitting[np.argmin(lengths[fitting])]]
            return free[start : start + count]
        longest_first = np.argsort(-lengths, kind="stable")
        scattered = [free[starts[run] : ends[run]] for run in longest_first]
        pages: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *scattered])
        return pages[:count]

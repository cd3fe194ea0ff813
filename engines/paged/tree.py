"""Tokens that go on in more ways than one, read in one step: each sees what was read before, the tokens that it
follows, and itself (tree attention: SpecInfer, arXiv 2305.09781; Lookahead, arXiv 2312.12728)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import torch


class Tree(Sequence[int]):
    """A fragment of `KvSequence.append`, to be followed afterwards: see `KvSequence.follow`.

    Args:
        ids: parents stand before their children.
        parents: place of the token that each follows; -1 where that was read before.

    Raises:
        ValueError: a parent that does not stand before its child.
    """

    def __init__(self, ids: Sequence[int], parents: Sequence[int]) -> None:
        if len(ids) != len(parents) or not all(-1 <= parent < place for place, parent in enumerate(parents)):
            raise ValueError(f"{len(ids)} tokens are no tree by the parents {list(parents)}")
        self.ids, self.parents = list(ids), list(parents)

    @cached_property
    def depths(self) -> list[int]:
        """How many tokens of the tree stand before each."""
        found: list[int] = []
        for parent in self.parents:
            found.append(0 if parent < 0 else found[parent] + 1)
        return found

    def seen(self) -> torch.Tensor:
        """bool [tokens, tokens] on the CPU: which token (row) sees which."""
        import torch

        found = torch.eye(len(self.ids), dtype=torch.bool)
        for place, parent in enumerate(self.parents):
            if parent >= 0:
                found[place] |= found[parent]
        return found

    def is_path(self, places: Sequence[int]) -> bool:
        """Whether each of some tokens follows the one before it, the first what was read before."""
        return all(
            0 <= place < len(self.ids) and self.parents[place] == before
            for before, place in zip([-1, *places], places, strict=False)
        )

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        """Of a beginning, which is a tree again, or of a single token."""
        if isinstance(place, int):
            return self.ids[place]
        begin, end, step = place.indices(len(self.ids))
        if (begin, step) != (0, 1):
            raise ValueError("of a tree only a beginning is a tree")
        return Tree(self.ids[:end], self.parents[:end])

"""Lessons as token ids: flat arrays in one file, so that training needs neither the texts nor their libraries.

A sheet's prompts begin alike: with the text. That beginning is kept, and read, once; each lesson goes on from it in a
branch of its own, which sees the beginning and itself (`loss` makes the mask). Outputs equal those of the lessons one
by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.training.recipe import draws

Ids = Sequence[int] | NDArray[np.int64]
Pair = tuple[Ids, Ids]
"""Token ids of a prompt and of its answer."""

IGNORED = -100
"""The label of tokens that are not learnt (torch's cross entropy skips it)."""

BLOCK = 1024
"""Sheets that are sorted by length together: batches stay mixed over the whole run, and padding small."""


@dataclass(frozen=True, slots=True)
class TokenisedSheet:
    """[length] each: token ids; the branch of each (0 is what all share, then 1, 2, ...); whether it is learnt."""

    ids: NDArray[np.int64]
    branches: NDArray[np.int64]
    learnt: NDArray[np.bool_]

    @property
    def positions(self) -> NDArray[np.int64]:
        """[length]: of each token in its own lesson; every branch goes on where the shared beginning ends."""
        starts = np.flatnonzero(np.diff(self.branches, prepend=-1))
        counted = np.arange(len(self.ids)) - np.repeat(starts, np.diff(np.append(starts, len(self.ids))))
        shared = int((self.branches == 0).sum())
        positions: NDArray[np.int64] = counted + np.where(self.branches > 0, shared, 0)
        return positions

    @property
    def lessons(self) -> int:
        """How many there are."""
        return int(self.branches.max(initial=0))

    @property
    def prompt(self) -> list[int]:
        """The ids that are not learnt; of a sheet with one lesson that is its prompt."""
        return [int(token) for token in self.ids[~self.learnt]]


@dataclass(frozen=True, slots=True)
class TokenisedSheets:
    """[total] ids, branches and learnt; sheet i is at starts[i]:starts[i + 1]."""

    ids: NDArray[np.uint32]
    branches: NDArray[np.uint16]
    learnt: NDArray[np.bool_]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, sheets: Iterable[Sequence[Pair]]) -> TokenisedSheets:
        """From the pairs of each sheet."""
        made = [_sheet(pairs) for pairs in sheets if pairs]
        return cls(
            np.concatenate([np.empty(0, np.uint32), *(sheet.ids.astype(np.uint32) for sheet in made)]),
            np.concatenate([np.empty(0, np.uint16), *(sheet.branches.astype(np.uint16) for sheet in made)]),
            np.concatenate([np.empty(0, np.bool_), *(sheet.learnt for sheet in made)]),
            np.cumsum([0, *(len(sheet.ids) for sheet in made)], dtype=np.int64),
        )

    @classmethod
    def load(cls, file: Path) -> TokenisedSheets:
        with np.load(file, allow_pickle=False) as arrays:
            return cls(arrays["ids"].astype(np.uint32), arrays["branches"], arrays["learnt"], arrays["starts"])

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".partial.npz")
        small = self.ids.astype(np.uint16) if self.ids.size and int(self.ids.max()) < 1 << 16 else self.ids
        np.savez_compressed(partial, ids=small, branches=self.branches, learnt=self.learnt, starts=self.starts)
        partial.replace(file)

    def __add__(self, other: TokenisedSheets) -> TokenisedSheets:
        """Both, one after the other."""
        return TokenisedSheets(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.branches, other.branches]),
            np.concatenate([self.learnt, other.learnt]),
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> TokenisedSheet:
        place = slice(self.starts[index], self.starts[index + 1])
        return TokenisedSheet(
            self.ids[place].astype(np.int64), self.branches[place].astype(np.int64), self.learnt[place]
        )

    def __iter__(self) -> Iterator[TokenisedSheet]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @property
    def lessons(self) -> int:
        """How many lessons there are on all sheets."""
        return int(np.maximum.reduceat(self.branches, self.starts[:-1]).sum()) if len(self) else 0


def _sheet(pairs: Sequence[Pair]) -> TokenisedSheet:
    # The last token of a prompt stays in the branch: the first learnt one is then predicted from a token before it.
    shared = min(len(prompt) for prompt, _ in pairs) - 1
    first = np.asarray(pairs[0][0])
    for prompt, _ in pairs[1:]:
        differ = np.flatnonzero(first[:shared] != np.asarray(prompt)[:shared])
        shared = int(differ[0]) if differ.size else shared
    ids, branches, learnt = [first[:shared]], [np.zeros(shared, np.int64)], [np.zeros(shared, np.bool_)]
    for number, (prompt, answer) in enumerate(pairs, start=1):
        ids.append(np.concatenate([np.asarray(prompt, np.int64)[shared:], np.asarray(answer, np.int64)]))
        branches.append(np.full(len(ids[-1]), number))
        learnt.append(np.arange(len(ids[-1])) >= len(prompt) - shared)
    return TokenisedSheet(np.concatenate(ids), np.concatenate(branches), np.concatenate(learnt))


def batches(lengths: NDArray[np.int64], tokens: int, seed: int) -> Iterator[list[int]]:
    """Indices of sheets in batches of at most `tokens`, padding included (a longer one is alone); every sheet once, in
    a random order of batches whose sheets are alike in length."""
    draw = draws(seed)
    order = list(range(len(lengths)))
    draw.shuffle(order)
    made: list[list[int]] = []
    for begin in range(0, len(order), BLOCK):
        batch: list[int] = []
        for index in sorted(order[begin : begin + BLOCK], key=lambda index: int(lengths[index])):
            if batch and int(lengths[index]) * (len(batch) + 1) > tokens:
                made.append(batch)
                batch = []
            batch.append(index)
        made.append(batch)
    draw.shuffle(made)
    yield from made

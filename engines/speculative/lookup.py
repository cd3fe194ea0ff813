"""Guesses without a model: what followed the last tokens where they stood before, in the prompt or in the answer.

Answers over documents copy from them, so the next tokens are often there to be read (the trie drafts of Lookahead,
arXiv 2312.12728, as a search). A step compares the last token with all that was read, which takes far less than a step
of the model and keeps nothing but the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 16
"""Tokens that are compared at most: places that agree in so many say the same."""

PLACES = 16
"""Places that are looked at most for other ways on: of common words there are thousands."""


class Lookup:
    """The tokens of a prompt and of its answer so far.

    Args:
        ids: the prompt.
        more: tokens that may be added.
    """

    def __init__(self, ids: Sequence[int], more: int) -> None:
        self._ids = np.empty(len(ids) + more, np.int64)
        self._ids[: len(ids)] = ids
        self._length = len(ids)

    def add(self, token: int) -> None:
        """The answer's next token."""
        self._ids[self._length] = token
        self._length += 1

    def propose(self, most: int, ways: int = 1) -> list[tuple[list[int], int]]:
        """(tokens, matched) of some places, what followed them and in how many tokens they agree with the end: those
        that agree in most come first, of them the latest. Where a place is nearer than `most` tokens, what is between
        repeats itself. Empty where the last token is new.

        Args:
            most: tokens of each.
            ways: places that go on differently, at most.
        """
        found: list[tuple[list[int], int]] = []
        for place, matched in self._places() if most > 0 else ():
            tokens: list[int] = np.resize(self._ids[place + 1 : self._length][:most], most).tolist()
            if all(tokens != others for others, _ in found):
                found.append((tokens, matched))
            if len(found) == ways:
                break
        return found

    def _places(self) -> Iterator[tuple[int, int]]:
        """Where the last token stood before, and in how many tokens; PLACES of them at most."""
        ids = self._ids[: self._length]
        levels = list(_levels(ids))
        seen: set[int] = set()
        for matched in range(len(levels), 0, -1):
            for place in reversed(levels[matched - 1][-PLACES:].tolist()):
                if place in seen:
                    continue
                if len(seen) == PLACES:
                    return
                seen.add(place)
                yield place, matched


def _levels(ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The places that agree with the end in 1, 2, ... tokens, while there are any."""
    places = np.flatnonzero(ids[:-1] == ids[-1]) if len(ids) else np.empty(0, np.int64)
    matched = 1
    while len(places):
        yield places
        if matched == LONGEST:
            return
        places = places[places >= matched]
        places = places[ids[places - matched] == ids[-1 - matched]]
        matched += 1

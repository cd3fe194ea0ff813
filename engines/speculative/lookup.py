"""Guesses without a model: what followed the last tokens where they stood before, in the prompt or in the answer.

Answers over documents copy from them, so the next tokens are often there to be read (the trie drafts of Lookahead,
arXiv 2312.12728, as a search). A step compares the last token with all that was read, which takes far less than a step
of the model and keeps nothing but the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST = 16
"""Tokens that are compared at most: places that agree in so many say the same."""


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

    def propose(self, most: int) -> tuple[list[int], int]:
        """(tokens, matched): what followed the latest of the places that agree with the end in most tokens, and in how
        many they do. Where that place is nearer than `most` tokens, what is between repeats itself. Both are empty and
        0 where the last token is new."""
        ids = self._ids[: self._length]
        places = np.flatnonzero(ids[:-1] == ids[-1]) if most > 0 and len(ids) else np.empty(0, np.int64)
        if not len(places):
            return [], 0
        matched = 1
        while matched < LONGEST:
            longer = places[places >= matched]
            longer = longer[ids[longer - matched] == ids[-1 - matched]]
            if not len(longer):
                break
            places, matched = longer, matched + 1
        found: list[int] = np.resize(ids[places[-1] + 1 :], most).tolist()
        return found, matched

"""An answer that is one of several given texts, written token by token: which tokens may come next.

Where only one text is left the rest of it is certain, and is not asked of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class Choosing:
    """Begins before the first token.

    Args:
        choices: token ids of each text, at least one.
        ends: tokens that end an answer: they come where a text is complete and another one goes on.
    """

    def __init__(self, choices: Sequence[Sequence[int]], ends: Collection[int]) -> None:
        self._left = list(dict.fromkeys(tuple(choice) for choice in choices))
        self._ends = ends
        self._written = 0

    def allowed(self) -> list[int]:
        """The tokens that may come next; none where the answer is complete."""
        going = [choice for choice in self._left if len(choice) > self._written]
        if not going:
            return []
        ends = self._ends if len(going) < len(self._left) else ()
        return sorted({choice[self._written] for choice in going} | set(ends))

    def take(self, token: int) -> list[int]:
        """Goes on with one of those tokens; returns what is certain to follow it."""
        self._left = [choice for choice in self._left if choice[self._written : self._written + 1] == (token,)]
        self._written += 1
        if len(self._left) != 1:
            return []
        rest = list(self._left[0][self._written :])
        self._written += len(rest)
        return rest

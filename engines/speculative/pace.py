"""How many tokens to propose, by what steps were measured to take and how often proposals came true.

Of k proposals, each of which comes true with probability a if those before it did, a round gains
E = 1 + a + ... + a^k tokens (arXiv 2211.17192, equation 1) for one verifying step and k drafting ones. The k with most
tokens a second is taken; 0 where drafting does not pay.
"""

from __future__ import annotations

from collections import deque
from statistics import median

KEPT = 8
"""Measurements that count: the median of the last ones follows the length of contexts, and one slow step is nothing."""

FADES = 0.95
"""What an outcome still weighs after the next one of its kind."""

RATE = 0.5
"""Share of proposals that come true, before anything is known."""

RAPID_RATE = 0.7
"""The same of a reader of passages: 0.6 to 0.7 in the paper (arXiv 2502.20330), unsteered."""

PRIOR_WEIGHT = 2.0
"""Outcomes that the expected share counts as."""

AGAIN = 16
"""Of so many chances that do not pay one is taken all the same: texts change."""


class Pace:
    """Of one model on one machine; it goes on from answer to answer.

    Args:
        rate: of proposals that come true, before anything is known.
    """

    def __init__(self, rate: float = RATE) -> None:
        self._rate = rate
        self._step_s: deque[float] = deque(maxlen=KEPT)
        self._row_s: deque[float] = deque(maxlen=KEPT)
        self._draft_s: deque[float] = deque([0.0], maxlen=KEPT)
        self._outcomes: dict[int, tuple[float, float]] = {}
        self._missed = 0

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of the model over so many tokens."""
        if rows == 1:
            self._step_s.append(seconds)
        elif self._step_s:
            self._row_s.append(max(seconds - median(self._step_s), 0.0) / (rows - 1))

    def drafted(self, tokens: int, seconds: float) -> None:
        """Proposing so many tokens."""
        self._draft_s.append(seconds / tokens)

    def verified(self, proposed: int, accepted: int, refused: bool, kind: int = 0) -> None:
        """What became of proposals.

        Args:
            refused: one did not come true; else the answer ended before, or there was none more.
            kind: proposals of different kinds come true more or less often.
        """
        if proposed:
            right, wrong = self._outcomes.get(kind, (0.0, 0.0))
            self._outcomes[kind] = (FADES * right + accepted, FADES * wrong + refused)

    def worth(self, most: int, kind: int = 0, least: int = 0) -> int:
        """Tokens to propose, `least` to `most`. What was never measured is tried: first a plain step, then `most`."""
        least = min(least, most)
        if most <= 0 or not self._step_s:
            return least
        if not self._row_s:
            return most
        right, wrong = self._outcomes.get(kind, (0.0, 0.0))
        rate = (right + PRIOR_WEIGHT * self._rate) / (right + wrong + PRIOR_WEIGHT)
        best = fastest(rate, most, median(self._step_s), median(self._row_s) + median(self._draft_s), least)
        if best:
            return best
        self._missed = (self._missed + 1) % AGAIN
        return 0 if self._missed else most


def fastest(rate: float, most: int, step_s: float, token_s: float, least: int = 0) -> int:
    """How many proposals give most tokens a second.

    Args:
        rate: probability that a proposal comes true if those before it did.
        step_s: a plain step; token_s: what each proposal adds to it, drafting included.
    """
    return max(range(least, most + 1), key=lambda k: tokens(rate, k) / (step_s + k * token_s))


def tokens(rate: float, proposals: int) -> float:
    """That a round is expected to gain."""
    return sum(rate**k for k in range(proposals + 1))

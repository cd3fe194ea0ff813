"""How many tokens to propose, by what steps were measured to take and how often proposals came true.

A round gains one token, and each proposal with the probability that it comes true: of k that follow one another, each
of which comes true with probability a if those before it did, E = 1 + a + ... + a^k (arXiv 2211.17192, equation 1). It
takes one verifying step and k drafting ones. The k with most tokens a second is taken; 0 where drafting does not pay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
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

AGAIN = 32
"""Of so many chances that do not pay one is taken all the same, since texts change: with as many proposals as take no
longer than a plain step, so that it costs one in so many at most."""


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

    def verified(self, right: int, wrong: int, kind: int = 0) -> None:
        """What became of proposals.

        Args:
            right: how many came true; wrong: how many were refused. Where the answer ended before, or one before was
                refused, it is neither.
            kind: proposals of different kinds come true more or less often.
        """
        if right or wrong:
            before = self._outcomes.get(kind, (0.0, 0.0))
            self._outcomes[kind] = (FADES * before[0] + right, FADES * before[1] + wrong)

    def rate(self, kind: int = 0) -> float:
        """How often a proposal of a kind comes true, if those before it did."""
        right, wrong = self._outcomes.get(kind, (0.0, 0.0))
        return (right + PRIOR_WEIGHT * self._rate) / (right + wrong + PRIOR_WEIGHT)

    def worth(self, most: int, kind: int = 0, least: int = 0) -> int:
        """Tokens to propose one after the other, `least` to `most`."""
        return self.pays(chain(self.rate(kind), most), least)

    def pays(self, chances: Sequence[float], least: int = 0) -> int:
        """How many proposals are worth their place in a step. What was never measured is tried: first a plain step,
        then all.

        Args:
            chances: that each comes true, the highest first.
            least: so many at least, of those that there are.
        """
        most = len(chances)
        least = min(least, most)
        if not most or not self._step_s:
            return least
        if not self._row_s:
            return most
        step_s, token_s = median(self._step_s), median(self._row_s) + median(self._draft_s)
        best = fastest(chances, step_s, token_s, least)
        if best:
            return best
        self._missed = (self._missed + 1) % AGAIN
        return 0 if self._missed else min(most, max(int(step_s / token_s), 1) if token_s else most)


def fastest(chances: Sequence[float], step_s: float, token_s: float, least: int = 0) -> int:
    """How many proposals give most tokens a second.

    Args:
        chances: that each comes true, the highest first.
        step_s: a plain step; token_s: what each proposal adds to it, drafting included.
    """
    gains = list(accumulate(chances, initial=1.0))
    return max(range(least, len(gains)), key=lambda k: gains[k] / (step_s + k * token_s))


def chain(rate: float, most: int) -> list[float]:
    """The chances of proposals that follow one another.

    Args:
        rate: probability that one comes true if those before it did.
    """
    return [rate**k for k in range(1, most + 1)]


def tokens(rate: float, proposals: int) -> float:
    """That a round of such proposals is expected to gain."""
    return 1 + sum(chain(rate, proposals))

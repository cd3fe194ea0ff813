"""An answer that is looked up while it is written: what stood after the same words before is verified in one step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from turnout.engines.answering import Alone, Ask, Steps, foretold
from turnout.engines.paged.lean import ROWS
from turnout.engines.speculative.lookup import Lookup
from turnout.engines.speculative.pace import Pace
from turnout.engines.writing import Writing

if TYPE_CHECKING:
    from turnout.engines.paged.sequence import KvSequence

MOST = 10
"""Proposals of a step, which stays one of few tokens with them."""

assert MOST < ROWS  # noqa: S101 - steps of more tokens cost as much as reading

KINDS = 3
"""Proposals are told apart by how many tokens agreed before them: 1, 2, or as many as this."""


class Ahead(Alone):
    """As `Alone`, and the answer is the same: each token is picked from the model's own logits after all before it, as
    without proposals, and those after the first that differs are forgotten. With one random draw a token that is
    speculative sampling of a certain proposal (arXiv 2302.01318): it comes true with the probability that the model
    gives it, and else the pick is one of the others. Where rounding depends on the tokens of a step, as in bfloat16,
    tokens that are all but equally likely may change places.

    Args:
        sequence: empty.
        pace: says how many proposals pay.
        is_only: whether no other request shares its steps. Where some do nothing is proposed: a step of theirs has
            other tokens to verify, and its time says nothing.
    """

    def __init__(
        self,
        sequence: KvSequence,
        ids: list[int],
        writing: Writing,
        pace: Pace,
        is_only: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(sequence, ids, writing)
        self._kept, self._pace, self._is_only = sequence, pace, is_only
        self._lookup = Lookup(ids, writing.most)

    def tokens(self) -> Steps:
        """See `Author.tokens`."""
        end = len(self._ids) + self._writing.most
        token = self._picked_first()
        while True:
            yield token
            self._lookup.add(token)
            proposed, kind = self._proposals()
            start = self._kept.length
            started, is_only = time.perf_counter(), self._is_only()
            rows = foretold((yield Ask(self._kept, [token, *proposed], rows=1 + len(proposed))))
            if is_only and self._is_only():
                rows[0, 0].item()  # a GPU is waited for
                self._pace.stepped(1 + len(proposed), time.perf_counter() - started)
            accepted, refused = 0, False
            try:
                token = self._writing.pick(rows[0])
                for guess, row in zip(proposed, rows[1:], strict=True):
                    refused = token != guess
                    if refused:
                        break
                    accepted += 1
                    yield token
                    self._lookup.add(token)
                    token = self._writing.pick(row)
            finally:
                length = start + 1 + accepted
                self._kept.truncate(length, more=end - length)
                self._pace.verified(len(proposed), accepted, refused, kind)
                self.counts = self.counts.plus(len(proposed), accepted)

    def _proposals(self) -> tuple[list[int], int]:
        """Never more than the answer may still get after the token that is picked in any case."""
        if not self._is_only():
            return [], 0
        found, matched = self._lookup.propose(min(MOST, self._writing.most - self._writing.tokens - 1))
        kind = min(matched, KINDS)
        return found[: self._pace.worth(len(found), kind)], kind

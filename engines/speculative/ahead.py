"""An answer that is looked up while it is written: what stood after the same words before is verified in one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from turnout.engines.answering import Alone, Ask, Steps, foretold
from turnout.engines.paged.lean import ROWS
from turnout.engines.paged.tree import Tree
from turnout.engines.speculative.lookup import Lookup
from turnout.engines.speculative.pace import Pace
from turnout.engines.speculative.trie import Trie, Walk
from turnout.engines.writing import Writing

if TYPE_CHECKING:
    from turnout.engines.paged.sequence import KvSequence

MOST = 10
"""Proposals that follow one another."""

NODES = 15
"""Proposals of a step, which stays one of few tokens with them."""

assert NODES < ROWS  # noqa: S101 - steps of more tokens cost as much as reading

WAYS = 4
"""Ways on that are considered: what each adds to those before it is seldom worth its place."""


class Ahead(Alone):
    """As `Alone`, and the answer is the same: each token is picked from the model's own logits after all before it, as
    without proposals, and those after the first that differs are forgotten. With one random draw a token that is
    speculative sampling of a certain proposal (arXiv 2302.01318): it comes true with the probability that the model
    gives it, and else the pick is one of the others. Where rounding depends on the tokens of a step, as in bfloat16,
    tokens that are all but equally likely may change places.

    Args:
        sequence: empty.
        pace: says which proposals pay.
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
            trie = self._proposals()
            ids = trie.after(token)
            start = self._kept.length
            started, is_only = time.perf_counter(), self._is_only()
            rows = foretold((yield Ask(self._kept, ids, rows=len(ids))))
            walk = Walk(trie)
            try:
                if is_only and self._is_only():
                    rows[0, 0].item()  # a GPU is waited for
                    self._pace.stepped(len(ids), time.perf_counter() - started)
                token = self._writing.pick(rows[0])
                while walk.goes_on(token):
                    yield token
                    self._lookup.add(token)
                    token = self._writing.pick(rows[1 + walk.places[-1]])
            finally:
                self._keep([0, *(1 + place for place in walk.places)], ids, start, end)
                self._learn(walk, len(trie))

    def _keep(self, places: list[int], ids: Sequence[int], start: int, end: int) -> None:
        """Of the tokens of a step those that were written.

        Args:
            start: length of the sequence before; end: what it may get.
        """
        length = start + len(places)
        if isinstance(ids, Tree):
            self._kept.follow(places, more=end - length)
        else:
            self._kept.truncate(length, more=end - length)

    def _learn(self, walk: Walk, proposed: int) -> None:
        for kind, (right, wrong) in walk.outcomes.items():
            self._pace.verified(right, wrong, kind)
        self.counts = self.counts.plus(proposed, len(walk.places), int(walk.is_refused))

    def _proposals(self) -> Trie:
        """Never more than the answer may still get after the token that is picked in any case."""
        most = min(NODES, self._writing.most - self._writing.tokens - 1)
        if most <= 0 or not self._is_only():
            return Trie()
        found = Trie.of(self._lookup.propose(min(MOST, most), WAYS), self._pace.rate)
        return found.likeliest(self._pace.pays(found.chances()[:most]))

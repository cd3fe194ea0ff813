"""Two readers write one answer: a drafter that read the passages, and a target that read everything (RAPID,
arXiv 2502.20330). One step of the target verifies a round of drafted tokens.

At the beginning of a round the target has read all that is written but the last token, the drafter that or one token
less. Where tokens are refused, both forget them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from turnout.contracts import Stopper
from turnout.engines.answering import Ask, Steps, foretold
from turnout.engines.speculative.laws import Law
from turnout.engines.speculative.pace import Pace
from turnout.engines.speculative.plan import Counts, Speculation
from turnout.engines.writing import Writing, generator

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.sequence import KvSequence


class Rapid:
    """An `answering.Author`.

    Args:
        target, drafter: empty sequences; they may be of two models with the same tokens.
        ids, draft_ids: their prompts, which end alike.
        pace: of target and drafter together.
        stopped: asked between the steps of a draft, too.
    """

    def __init__(
        self,
        target: KvSequence,
        drafter: KvSequence,
        ids: list[int],
        draft_ids: list[int],
        how: Speculation,
        writing: Writing,
        pace: Pace,
        stopped: Stopper = lambda: False,
    ) -> None:
        self._target, self._drafter = target, drafter
        self._ids, self._draft_ids = ids, draft_ids
        self._how, self._writing, self._pace, self._stopped = how, writing, pace, stopped
        self._foretold: tuple[torch.Tensor, torch.Tensor] | None = None
        self._behind: list[int] = []
        self.to_read, self.prompt_tokens = len(ids) + len(draft_ids), len(ids)
        self.counts = Counts()

    @property
    def reused(self) -> int:
        """Of the target's prompt."""
        return self._target.reused

    @property
    def length(self) -> int:
        """Of both."""
        return self._target.length + self._drafter.length

    @property
    def prompt(self) -> tuple[KvSequence, list[int]]:
        """The target's."""
        return self._target, self._ids

    def begin(self) -> None:
        """See `Author.begin`."""
        self._drafter.begin(self._draft_ids, more=self._writing.most)
        try:
            self._target.begin(self._ids, more=self._writing.most)
        except BaseException:
            self._drafter.close(keep=False)
            raise

    def reading(self) -> Steps:
        """See `Author.reading`. What drafts may be another model, so it reads by itself, and that is short."""
        for _, rows in self._drafter.read_on(self._draft_ids):
            drafter = rows
            yield self.length
        target = yield Ask(self._target, self._ids[self._target.length :], is_prompt=True)
        self._target.publish()
        self._foretold = foretold(target)[0], drafter

    def tokens(self) -> Steps:
        """See `Author.tokens`."""
        if self._foretold is None:
            raise ValueError("a prompt is read before its answer is written")
        target, drafter = self._foretold
        law = self.law(target)
        token = law.undrafted(target, drafter)
        try:
            while True:
                yield token
                yield None
                written = self._round(token, law)
                if written is None:
                    return
                *drafted, token = written
                yield from drafted
        finally:
            self._forget(self._target, len(self._ids) + self._writing.tokens)

    def doubt(self, refusal: int) -> float | None:
        """See `Author.doubt`; the target's."""
        return None if self._foretold is None else float(self._foretold[0].float().softmax(-1)[refusal])

    def close(self) -> None:
        """See `Author.close`."""
        try:
            self._target.close()
        finally:
            self._drafter.close()

    def law(self, logits: torch.Tensor) -> Law:
        """By which this answer is drafted and judged.

        Args:
            logits: the target's, of some tokens.
        """
        params = self._writing.params
        return Law(self._how, params.temperature, generator(params, str(logits.device)), logits.shape[-1])

    def _round(self, last: int, law: Law) -> list[int] | None:
        """The next tokens, one or more; None where the caller gave up.

        Args:
            last: what was written last, which nobody has read.
        """
        writing = self._writing
        most = min(self._how.gamma, writing.most - writing.tokens - 1)
        is_seeded = writing.params.temperature > 0 and writing.params.seed is not None
        # The published law depends on the number, and so does which draw is whose: times would make a seed useless.
        if not is_seeded and self._how.mode != "paper":
            most = self._pace.worth(most, least=int(self._how.steers))
        self._behind.append(last)
        draft = self._draft(most, law)
        if draft is None:
            return None
        drafted, q, begin = draft
        rows = self._verified([last, *drafted])
        accepted, token = law.judge(drafted, rows[:-1], q)
        if token is None:
            token = law.undrafted(rows[-1], self._read_on() if self._how.steers else None)
        refused = int(accepted < len(drafted))
        self._pace.verified(accepted, refused)
        self.counts = self.counts.plus(len(drafted), accepted, refused)
        self._forget(self._target, self._target.length - len(drafted) + accepted)
        self._catch_up(drafted[:accepted], begin, len(drafted))
        return [*drafted[:accepted], token]

    def _draft(self, most: int, law: Law) -> tuple[list[int], list[torch.Tensor], int] | None:
        """(tokens, q of each, length of the drafter with all that is written); None where the caller gave up."""
        started = time.perf_counter()
        begin = self._drafter.length + len(self._behind)
        drafted: list[int] = []
        q: list[torch.Tensor] = []
        while len(drafted) < most:
            if self._stopped():
                return None
            token, found = law.draft(self._read_on())
            drafted.append(token)
            q.append(found)
            self._behind = [token]
            if token in self._writing.ends or float(found[token]) < self._how.confidence:
                break
        if drafted:
            self._pace.drafted(len(drafted), time.perf_counter() - started)
        return drafted, q, begin

    def _read_on(self) -> torch.Tensor:
        """The drafter's logits after all that it has not read."""
        row = self._drafter.append(self._behind)[0]
        self._behind = []
        return row

    def _verified(self, ids: list[int]) -> torch.Tensor:
        started = time.perf_counter()
        rows = self._target.append(ids, logits=range(len(ids)))
        rows[0, 0].item()  # a GPU is waited for
        self._pace.stepped(len(ids), time.perf_counter() - started)
        return rows

    def _catch_up(self, accepted: list[int], begin: int, drafted: int) -> None:
        """The drafter forgets what was refused; of what was accepted it has not read the last, unless it steered.

        Args:
            begin: its length before the draft; nothing of it may be read yet where nothing was drafted.
        """
        if not drafted:
            return
        self._forget(self._drafter, begin + len(accepted))
        self._behind = accepted[self._drafter.length - begin :]

    def _forget(self, sequence: KvSequence, length: int) -> None:
        prompt = len(self._ids) if sequence is self._target else len(self._draft_ids)
        if length < sequence.length:
            sequence.truncate(length, more=max(prompt + self._writing.most - length, 0))

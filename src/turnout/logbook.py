"""What a `Turnout` tells of answers that were given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.parts import Parts
    from turnout.router.ledger import Entry


class Logbook(ABC):
    """The part of `Turnout` that reads its ledger."""

    @abstractmethod
    def _opened(self) -> Parts:
        """What is held open."""

    def explain(self, answer_id: str) -> Entry:
        """What was decided for an answer and why, predicted beside measured, from the ledger."""
        return self._opened().ledger.get(answer_id)

    def feedback(self, answer_id: str, *, good: bool) -> Entry:
        """Says of an answer that it was good or bad. Later decisions expect more, or less, of its strategy on questions
        like it; a later word replaces an earlier one.

        Raises:
            UnknownNameError: the ledger has no such answer.
        """
        return self._opened().ledger.judge(answer_id, good=good)

    @property
    def log_level(self) -> str:
        """What the ledger keeps: "off", "decisions" or "full"."""
        return self._opened().settings.log

    def log(self, limit: int = 20) -> list[Entry]:
        """The newest answers in the ledger."""
        return self._opened().ledger.recent(limit)

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

    def explain(self, answer_id: str, collection: str | None = None) -> Entry:
        """What was decided for an answer and why, predicted beside measured, from the ledger; of a collection that was
        named with the question, or of any."""
        return self._opened().ledger.get(answer_id, collection)

    def feedback(self, answer_id: str, *, good: bool, collection: str | None = None) -> Entry:
        """Says of an answer that it was good or bad. Later decisions expect more, or less, of its strategy on questions
        like it, those of a collection that is kept apart only there; a later word replaces an earlier one.

        Raises:
            UnknownNameError: the ledger has no such answer.
        """
        return self._opened().ledger.judge(answer_id, good=good, collection=collection)

    @property
    def log_level(self) -> str:
        """What the ledger keeps: "off", "decisions" or "full"."""
        return self._opened().settings.log

    def log(self, limit: int = 20, collection: str | None = None) -> list[Entry]:
        """The newest answers in the ledger, or those of a collection."""
        return self._opened().ledger.recent(limit, collection)

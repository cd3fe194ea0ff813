"""What a `Turnout` tells of answers that were given."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from turnout.errors import ConfigurationError

if TYPE_CHECKING:
    from turnout.background import Background
    from turnout.parts import Parts
    from turnout.router.counterfactuals import Outcome
    from turnout.router.drift import Drift
    from turnout.router.ledger import Entry


class Logbook(ABC):
    """The part of `Turnout` that reads its ledger."""

    _background: Background

    @abstractmethod
    def _opened(self) -> Parts:
        """What is held open."""

    def explain(self, answer_id: str, collection: str | None = None) -> Entry:
        """What was decided for an answer and why, predicted beside measured, from the ledger; of a collection that was
        named with the question, or of any."""
        return self._opened().ledger.get(answer_id, collection)

    def beside(self, answer_id: str) -> list[Outcome]:
        """What strategies that were not chosen took and answered for the same question, where they were run."""
        parts = self._opened()
        return parts.counterfactuals.of(parts.ledger.get(answer_id).id)

    def feedback(
        self, answer_id: str, *, good: bool, strategy: str | None = None, collection: str | None = None
    ) -> Entry:
        """Says of an answer that it was good or bad. Later decisions expect more, or less, of its strategy on questions
        like it, those of a collection that is kept apart only there; a later word replaces an earlier one.

        Args:
            collection: only answers count for which it was named.
            strategy: of what this one answered beside, which was not shown; it counts for `regret` alone.

        Raises:
            UnknownNameError: the ledger has no such answer.
        """
        parts = self._opened()
        entry = parts.ledger.get(answer_id, collection)
        if strategy in (None, entry.chosen):
            return parts.ledger.judge(entry.id, good=good)
        parts.counterfactuals.judge(entry.id, str(strategy), good=good)
        return entry

    def regret(self, days: float | None = None) -> dict[str, Any]:
        """What choices lacked to the strategies that were not chosen, as far as those were run.

        Args:
            days: of answers of the last days; of all by default.

        Returns:
            `kinds` as in `turnout.router.regret.report`, `shadow` as there, `answers` of the ledger, what measuring
            took in the last 24 hours, `spent_s` of `cap_s`, and what stopped it last in this process (`error`).
        """
        from turnout.router import regret
        from turnout.router.counterfactuals import DAY_S

        if days is not None and not days > 0:
            raise ConfigurationError(f"days is {days}", hint="give a number above 0, or leave it out for all")
        parts, now = self._opened(), time.time()
        since = 0.0 if days is None else now - days * DAY_S
        found = regret.Found(parts.counterfactuals.all(), parts.ledger.verdicts(), parts.ledger.groups())
        for entry in parts.ledger.each(since):
            found.add(entry)
        return {
            "answers": found.answers,
            "kinds": regret.report(found.measured),
            "shadow": found.shadow(),
            "spent_s": parts.counterfactuals.spent(now - DAY_S).seconds,
            "cap_s": parts.settings.regret_max_s,
            "error": self._background.failed,
        }

    def drift(self) -> list[Drift]:
        """Predictions of the latest answers' model that stopped matching what is measured."""
        from turnout.router import drift

        parts = self._opened()
        entries = parts.ledger.recent(drift.LOOKED_AT)
        if not entries:
            return []
        model = entries[0].model
        return drift.found([e.record for e in entries if e.model == model], parts.ledger.judged(model))

    def purge_log(
        self, *, older_than: str | float | None = None, document: str | None = None, dry_run: bool = False
    ) -> int:
        """Deletes answers from the ledger, with their verdicts and all that stands beside them.

        Args:
            older_than: those that were given longer ago: seconds, or "30d", "12h", "8w"; all of them without this and
                `document`.
            document: those over one, by id, title or source; over one that is gone, by id or source.
            dry_run: nothing is deleted.

        Returns:
            How many were, or would be.

        Raises:
            ConfigurationError: both are given, or it is no age.
            UnknownNameError: nothing was ever asked over such a document.
        """
        from turnout.router import purging

        if older_than is not None and document is not None:
            raise ConfigurationError(
                f"older_than {older_than!r} and document {document!r} exclude each other", hint="give one of the two"
            )
        age = None if older_than is None else purging.age_s(older_than)
        parts = self._opened()
        given = None if document is None else purging.document_of(document, parts.library, parts.database)
        ids = purging.chosen(parts.database, older_than_s=age, document=given)
        return len(ids) if dry_run else purging.purge(parts.database, ids)

    @property
    def log_level(self) -> str:
        """What the ledger keeps: "off", "decisions" or "full"."""
        return self._opened().settings.log

    def log(self, limit: int = 20, collection: str | None = None) -> list[Entry]:
        """The newest answers in the ledger, or those of a collection."""
        return self._opened().ledger.recent(limit, collection)

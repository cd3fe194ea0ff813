"""What strategies that were not chosen took and answered: kept beside the ledger's answers, each run paid for."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from turnout.config import LogLevel
from turnout.database import Database
from turnout.errors import UnknownNameError
from turnout.record import text_of
from turnout.router.evaluation.text_scores import token_f1
from turnout.types import Answer

DAY_S = 86_400.0

SAME = 0.8
"""Token F1 from which two answers count as one. Ours: a word more or less in a short answer is still the same."""

State = Literal["answered", "failed", "given up"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one strategy took and answered for a question that another one was chosen for.

    Attributes:
        agreement: token F1 of its answer with the one that was given; None without an answer.
        seconds: to the whole answer.
        good: what the user says of it; None where nothing was said.
        text: None below log=full.
    """

    strategy: str
    state: State
    agreement: float | None = None
    abstained: bool | None = None
    seconds: float | None = None
    cost: float | None = None
    good: bool | None = None
    text: str | None = None

    @property
    def same(self) -> bool:
        """The same answer as the one that was given, about."""
        return self.agreement is not None and self.agreement >= SAME


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on such runs: seconds, and money or seconds by the prices of the time."""

    seconds: float
    cost: float


def agreement(one: str, other: str, *, abstained: tuple[bool, bool]) -> float:
    """How much two answers say the same: token F1, 1 for two abstentions, 0 where one of them is one."""
    return float(all(abstained)) if any(abstained) else token_f1(one, [other])


class Counterfactuals:
    """Keeps them at the ledger's level: what they took always, their text at "full" alone."""

    def __init__(self, database: Database, level: LogLevel) -> None:
        self._database = database
        self._level = level

    def answered(self, answer_id: str, given: tuple[str, bool], other: Answer) -> None:
        """Keeps a whole run.

        Args:
            given: text of the answer that the user got, and whether it is an abstention.
            other: what the strategy that was not chosen answers.
        """
        found = Outcome(
            strategy=other.decision.chosen,
            state="answered",
            agreement=agreement(other.text, given[0], abstained=(other.abstained, given[1])),
            abstained=other.abstained,
            seconds=other.usage.total_s,
            cost=other.usage.cost,
        )
        spent_s = other.usage.total_s + other.usage.load_s + other.usage.index_s
        content = json.dumps(text_of(other)) if self._level == "full" else None
        record = {"usage": dataclasses.asdict(other.usage)}
        self._put(answer_id, found, Spent(spent_s, other.usage.cost or 0.0), record, content)

    def ended(self, answer_id: str, strategy: str, state: State, spent: Spent, why: str) -> None:
        """Keeps what a run cost that came to no answer."""
        self._put(answer_id, Outcome(strategy, state), spent, {"why": why}, None)

    def _put(
        self, answer_id: str, found: Outcome, spent: Spent, record: Mapping[str, Any], content: str | None
    ) -> None:
        names = ("state", "agreement", "abstained", "seconds", "cost")
        with self._database.write() as connection:
            # The answer may have been purged meanwhile, or its text erased with a document: then so is this.
            connection.execute(
                sa.text(
                    "INSERT INTO counterfactuals (answer_id, strategy, created, seconds, cost, record, content)"
                    " SELECT id, :strategy, :now, :seconds, :cost, :record,"
                    " CASE WHEN content IS NULL THEN NULL ELSE :content END FROM answers WHERE id = :id"
                    " ON CONFLICT (answer_id, strategy) DO UPDATE SET created = excluded.created,"
                    " seconds = counterfactuals.seconds + excluded.seconds,"
                    " cost = counterfactuals.cost + excluded.cost,"
                    " record = excluded.record, content = excluded.content"
                ),
                {
                    "id": answer_id,
                    "strategy": found.strategy,
                    "now": time.time(),
                    "seconds": spent.seconds,
                    "cost": spent.cost,
                    "record": json.dumps({name: getattr(found, name) for name in names} | dict(record)),
                    "content": content,
                },
            )

    def spent(self, since: float) -> Spent:
        """All that such runs took since a time in seconds of the epoch."""
        with self._database.read() as connection:
            row = connection.execute(
                sa.text(
                    "SELECT COALESCE(SUM(seconds), 0), COALESCE(SUM(cost), 0) FROM counterfactuals"
                    " WHERE created > :since"
                ),
                {"since": since},
            ).one()
        return Spent(float(row[0]), float(row[1]))

    def of(self, answer_id: str) -> list[Outcome]:
        """Of one answer, by strategy."""
        return self.all(answer_id).get(answer_id, [])

    def all(self, answer_id: str | None = None) -> dict[str, list[Outcome]]:
        """Of every answer, or of one, by its id."""
        where = "" if answer_id is None else " WHERE answer_id = :id"
        with self._database.read() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT answer_id, strategy, record, content, good FROM counterfactuals"
                    f"{where} ORDER BY answer_id, strategy"
                ),
                {} if answer_id is None else {"id": answer_id},
            ).all()
        found: dict[str, list[Outcome]] = {}
        for row in rows:
            found.setdefault(row.answer_id, []).append(_outcome(row))
        return found

    def judge(self, answer_id: str, strategy: str, *, good: bool) -> None:
        """Keeps what the user says of such an answer.

        Raises:
            UnknownNameError: the strategy did not answer that question.
        """
        known = [each.strategy for each in self.of(answer_id) if each.state == "answered"]
        if strategy not in known:
            raise UnknownNameError(f"strategy that answered {answer_id} beside", strategy, known)
        with self._database.write() as connection:
            connection.execute(
                sa.text("UPDATE counterfactuals SET good = :good WHERE answer_id = :id AND strategy = :strategy"),
                {"good": int(good), "id": answer_id, "strategy": strategy},
            )


def _outcome(row: Any) -> Outcome:
    record = json.loads(row.record)
    return Outcome(
        strategy=row.strategy,
        good=None if row.good is None else bool(row.good),
        text=json.loads(row.content)["text"] if row.content else None,
        **{name: record[name] for name in ("state", "agreement", "abstained", "seconds", "cost")},
    )

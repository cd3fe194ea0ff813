"""The ledger: one SQL row per answer, predicted and measured side by side. Nothing ever leaves the machine."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from turnout.config import LogLevel
from turnout.database import Database
from turnout.documents import Document
from turnout.engines.speculative.plan import Counts
from turnout.errors import UnknownNameError
from turnout.record import summary, text_of
from turnout.router.agreement import share
from turnout.router.attempts import is_whole
from turnout.router.feedback import with_feedback
from turnout.router.profile import ModelProfile, by_task
from turnout.types import Answer, ModelInfo

RECENT = 30
"""Answers per strategy that corrections are taken from."""

JUDGED = 200
"""Most judged answers that correct the expected quality."""

MOST_OUTSIDE_S = 600.0
"""Seconds outside the engine that corrections believe: a model that scans may take minutes."""

ENOUGH_TO_SPREAD = 10
"""Answers that are needed before they tell how far apart they lie."""

LATELY_S = 3600.0
"""How long a question tells of others to come over the same documents: about a sitting. Ours, not measured."""

BATCH = 200
"""Rows that are read at once."""

END_OF_TIME = 1e15
"""Seconds of the epoch, after all that was answered."""

ENOUGH = 3
"""Answers that are needed before they correct anything."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger row. `record` is surface JSON of decision, usage and model; `content` the text, at log=full only;
    `documents` are names like "msa.pdf@9c1e", filled by `Ledger.get`."""

    id: str
    created: float
    model: str
    chosen: str
    question: str | None
    record: Mapping[str, Any]
    content: Mapping[str, Any] | None
    documents: tuple[str, ...] = ()


class Ledger:
    """Writes answers at the level that the user chose: off, decisions (no answer text), full."""

    def __init__(self, database: Database, level: LogLevel) -> None:
        self.database = database
        self._level = level

    def record(
        self,
        answer: Answer,
        documents: Sequence[Document],
        raw_first_token_s: float | None,
        drafted: Counts | None = None,
        collection: str = "",
    ) -> None:
        """Stores one answer.

        Args:
            documents: those that it was asked over; removing one of them, or another version of its source, erases
                text from the row.
            raw_first_token_s: predicted engine seconds to the first token before correction, to learn from.
            drafted: what became of its drafts, where a reader of passages made any.
            collection: the one that was named, "" for none.
        """
        if self._level == "off":
            return
        record = summary(answer) | {"raw_first_token_s": raw_first_token_s}
        if drafted is not None:
            record |= {"drafted": dataclasses.asdict(drafted)}
        content = json.dumps(text_of(answer)) if self._level == "full" else None
        with self.database.write() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO answers (id, created, model, chosen, question, record, content, collection)"
                    " VALUES (:id, :created, :model, :chosen, :question, :record, :content, :collection)"
                ),
                {
                    "id": answer.id,
                    "created": time.time(),
                    "model": answer.model.fingerprint,
                    "chosen": answer.decision.chosen,
                    "question": answer.question,
                    "record": json.dumps(record),
                    "content": content,
                    "collection": collection,
                },
            )
            for document in documents:
                connection.execute(
                    sa.text(
                        "INSERT INTO answer_documents (answer_id, document_id, source)"
                        " VALUES (:answer, :document, :source)"
                    ),
                    {"answer": answer.id, "document": document.id, "source": document.source},
                )

    def get(self, answer_id: str, collection: str | None = None) -> Entry:
        """One row by id or unique beginning of an id.

        Args:
            collection: only answers count for which it was named.

        Raises:
            UnknownNameError: no such row, or several; the hint names recent ids.
        """
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text(f"{_OF} AND substr(id, 1, :size) = :id ORDER BY created DESC LIMIT 2"),
                {"id": answer_id, "size": len(answer_id), "collection": collection},
            ).all()
            if len(rows) == 1 and answer_id:
                titles = connection.execute(
                    sa.text(
                        "SELECT title, document_id FROM answer_documents LEFT JOIN documents"
                        " ON documents.id = document_id WHERE answer_id = :id ORDER BY title"
                    ),
                    {"id": rows[0].id},
                ).all()
                named = tuple(f"{row.title or '(removed)'}@{row.document_id[:4]}" for row in titles)
                return _entry(rows[0], named)
        raise UnknownNameError("answer id", answer_id, [entry.id for entry in self.recent(5, collection)])

    def recent(self, limit: int = 20, collection: str | None = None) -> list[Entry]:
        """The newest rows first; those for which a collection was named, or all of them."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text(f"{_OF} ORDER BY created DESC LIMIT :limit"), {"limit": limit, "collection": collection}
            ).all()
        return [_entry(row) for row in rows]

    def each(self, since: float = 0.0) -> Iterator[Entry]:
        """All rows since a time in seconds of the epoch, the newest first. They are read as they are taken: a ledger of
        years is never in memory whole."""
        query = (
            f"{_COLUMNS} WHERE created >= :since AND (created < :at OR (created = :at AND id < :id))"
            " ORDER BY created DESC, id DESC LIMIT :limit"
        )
        at: dict[str, Any] = {"since": since, "limit": BATCH, "at": END_OF_TIME, "id": ""}
        while True:
            with self.database.read() as connection:
                rows = connection.execute(sa.text(query), at).all()
            yield from map(_entry, rows)
            if len(rows) < BATCH:
                return
            at |= {"at": rows[-1].created, "id": rows[-1].id}

    def documents_of(self, answer_id: str) -> tuple[str, ...]:
        """The ids of the documents that an answer is over, in the order in which they were given."""
        query = "SELECT document_id FROM answer_documents WHERE answer_id = :id ORDER BY rowid"
        with self.database.read() as connection:
            return tuple(connection.execute(sa.text(query), {"id": answer_id}).scalars())

    def groups(self) -> dict[str, str]:
        """What tells the documents of each answer from those of others, by its id."""
        query = "SELECT answer_id, MIN(document_id) AS low, MAX(document_id) AS high FROM answer_documents GROUP BY 1"
        with self.database.read() as connection:
            return {row.answer_id: f"{row.low}-{row.high}" for row in connection.execute(sa.text(query))}

    def verdicts(self) -> dict[str, bool]:
        """What the user said of answers, by their ids."""
        with self.database.read() as connection:
            rows = connection.execute(sa.text("SELECT answer_id, good FROM feedback")).all()
        return {answer: bool(good) for answer, good in rows}

    def judge(self, answer_id: str, *, good: bool, collection: str | None = None) -> Entry:
        """Keeps what the user says of an answer, in the place of what was said before; see `get`.

        Raises:
            UnknownNameError: no such answer.
        """
        entry = self.get(answer_id, collection)
        with self.database.write() as connection:
            connection.execute(
                sa.text("INSERT OR REPLACE INTO feedback (answer_id, good, created) VALUES (:id, :good, :now)"),
                {"id": entry.id, "good": int(good), "now": time.time()},
            )
        return entry

    def judged(self, model_fingerprint: str, collection: str = "") -> list[tuple[Mapping[str, Any], bool]]:
        """The decisions of a model's answers that the user has judged, each with whether the answer was good; the
        latest JUDGED of them. What is said in a collection that is kept apart counts there alone."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT record, good FROM feedback JOIN answers ON answers.id = answer_id WHERE model = :model AND"
                    f" {_APART.format('collection')} = {_APART.format(':collection')}"
                    " ORDER BY feedback.created DESC LIMIT :limit"
                ),
                {"model": model_fingerprint, "limit": JUDGED, "collection": collection},
            ).all()
        return [(json.loads(record)["decision"], bool(good)) for record, good in rows]

    def agreement(self, model: ModelInfo, documents: Sequence[Document]) -> float | None:
        """How often the whole text agreed with what its passages foretold, in the latest answers of `rapid` over any of
        some documents; None where too little was drafted. Steered answers don't count: they agree by design."""
        asked = {document.id for document in documents}
        found: dict[str, Counts] = {}
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text(
                    f"SELECT latest.id, record, document_id FROM ({_COLUMNS} WHERE model = :model AND chosen = 'rapid'"
                    " ORDER BY created DESC LIMIT :limit) AS latest"
                    " JOIN answer_documents ON answer_id = latest.id ORDER BY latest.created DESC"
                ),
                {"model": model.fingerprint, "limit": 4 * RECENT},
            ).all()
        for row in rows:
            if row.document_id in asked and row.id not in found and len(found) < RECENT:
                found[row.id] = _drafted(json.loads(row.record))
        return share(found.values())

    def asked_lately(self, documents: Sequence[Document]) -> int:
        """How many questions over just these documents were answered in the last LATELY_S seconds."""
        ids = sorted(document.id for document in documents)
        if not ids:
            return 0
        with self.database.read() as connection:
            # As many documents with the same first and last hash are the same ones: no need to compare them all.
            found = connection.execute(
                sa.text(
                    "SELECT COUNT(*) FROM (SELECT 1 FROM answer_documents WHERE answer_id IN"
                    " (SELECT answer_id FROM answer_documents JOIN answers ON answers.id = answer_id"
                    " WHERE document_id = :first AND answers.created > :since) GROUP BY answer_id"
                    " HAVING COUNT(*) = :number AND MIN(document_id) = :first AND MAX(document_id) = :last) AS alike"
                ),
                {"first": ids[0], "last": ids[-1], "number": len(ids), "since": time.time() - LATELY_S},
            )
            return int(found.scalar() or 0)

    def corrected(self, profile: ModelProfile, model: ModelInfo, collection: str = "") -> ModelProfile:
        """The profile with what this model's answers say.

        The latest give, by strategy, measured over predicted engine seconds to the first token (by task too), seconds
        outside the engine, and how often what was drafted came true, and by task how long answers get; cached prompts
        teach nothing of reading, nor do those before which an engine had others. Those that the user has judged correct
        the expected quality, in a collection that is kept apart those of there alone.
        """
        ratios: dict[str, list[float]] = {}
        outside: dict[str, list[float]] = {}
        lengths: dict[str, list[float]] = {}
        drafts: dict[str, list[Counts]] = {}
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text("SELECT chosen, record FROM answers WHERE model = :model ORDER BY created DESC LIMIT :limit"),
                {"model": model.fingerprint, "limit": 4 * RECENT},
            ).all()
        for chosen, text in rows:
            record = json.loads(text)
            drafts.setdefault(chosen, []).append(_drafted(record))
            usage, raw, known = record["usage"], record["raw_first_token_s"], record["decision"]["signals"]
            first, ttft = usage["first_token_s"], usage["ttft_s"]
            written = usage["completion_tokens"] - sum(
                asked.get("completion_tokens", 0) for asked in usage.get("attempts", ())
            )
            if written:
                lengths.setdefault(known["task"], []).append(written / known["expected_new_tokens"])
            if first is None or usage["cached_tokens"] or any(known.get("wait_s", ())):
                continue
            for name in (chosen, by_task(chosen, known["task"])) if raw else ():
                ratios.setdefault(name, []).append(first / raw)
            is_one = not any(map(is_whole, usage.get("attempts", ())))
            if ttft is not None and is_one and not known.get(_MADE_ONCE.get(chosen, "")):
                outside.setdefault(chosen, []).append(max(0.0, ttft - first - known.get("waited_s", 0.0)))
        return dataclasses.replace(
            profile,
            corrections=_medians(ratios, 0.33, 3.0),
            outside_s=_medians(outside, 0.0, MOST_OUTSIDE_S),
            spreads=_around_median(ratios),
            lengths=_percentiles(lengths),
            agreement=_known({name: share(each[:RECENT]) for name, each in drafts.items()}),
            quality=with_feedback(profile.quality, model.parameters, self.judged(model.fingerprint, collection)),
        )


# Where something was made of the documents for all later questions too, that was part of the seconds outside.
_MADE_ONCE = {"soft": "soft_missing", "soft:ape": "kv_missing"}

_COLUMNS = "SELECT id, created, model, chosen, question, record, content FROM answers"
_OF = f"{_COLUMNS} WHERE (:collection IS NULL OR collection = :collection)"
_APART = "COALESCE((SELECT name FROM collections WHERE name = {} AND salt <> ''), '')"


def _drafted(record: Mapping[str, Any]) -> Counts:
    """Of an answer that nobody drafted, nothing."""
    return Counts(**record.get("drafted", {}))


def _known(shares: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in shares.items() if value is not None}


def _medians(values: Mapping[str, list[float]], low: float, high: float) -> dict[str, float]:
    return {
        name: min(max(statistics.median(seen[:RECENT]), low), high)
        for name, seen in values.items()
        if len(seen) >= ENOUGH
    }


def _around_median(values: Mapping[str, list[float]]) -> dict[str, tuple[float, float]]:
    """10th and 90th percentile over the median, never closer to it than a tenth."""
    found = {}
    for name, (low, middle, high) in _percentiles(values, ENOUGH_TO_SPREAD).items():
        found[name] = (min(low / middle, 0.9), max(high / middle, 1.1))
    return found


def _percentiles(values: Mapping[str, list[float]], enough: int = ENOUGH) -> dict[str, tuple[float, float, float]]:
    """10th, 50th and 90th percentile of the latest."""
    found = {}
    for name, seen in values.items():
        if len(seen) >= enough:
            low, middle, high = np.percentile(seen[:RECENT], [10, 50, 90]).tolist()
            found[name] = (low, middle, high)
    return found


def _entry(row: Any, documents: tuple[str, ...] = ()) -> Entry:
    content = json.loads(row.content) if row.content else None
    return Entry(row.id, row.created, row.model, row.chosen, row.question, json.loads(row.record), content, documents)

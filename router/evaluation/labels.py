"""What a reader says of answers on which two strategies of a run disagree: kept with the run, and used in the place of
the metric's scores wherever the run is learned from.

Which strategy gave which answer is not shown, and which comes first follows from the question's id, so that nobody
votes for a name or a place. A verdict holds for the two answers that were shown: where a run goes on and gives others,
it counts no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from turnout.errors import ConfigurationError, StoreError, UnknownNameError
from turnout.router.counterfactuals import SAME, agreement
from turnout.router.evaluation.items import Item
from turnout.router.evaluation.rows import Row, Run, write_atomically
from turnout.router.evaluation.table import is_single

QUESTIONS_FILE, VERDICTS_FILE = "questions.jsonl", "verdicts.jsonl"

RIGHT = {"1": (True, False), "2": (False, True), "both": (True, True), "none": (False, False)}
"""By key, whether the first and the second answer are right."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question; `first` is shown first, whichever strategy it is of."""

    question_id: str
    question: str
    first: Row
    second: Row

    def verdict(self, key: str) -> dict[str, Any]:
        """The line that is kept of a key."""
        shown = zip((self.first, self.second), RIGHT[key], strict=True)
        return {
            "question_id": self.question_id,
            "right": {row["strategy"]: is_right for row, is_right in shown},
            "answers": {row["strategy"]: _digest(row) for row in (self.first, self.second)},
            "labelled": time.strftime("%Y-%m-%d %H:%M:%S"),
        }


def keep_questions(folder: Path, items: Iterable[Item]) -> None:
    """Writes what is asked beside the rows, which name questions by id alone."""
    text = "".join(json.dumps({"id": i.id, "question": i.question}, ensure_ascii=False) + "\n" for i in items)
    write_atomically(folder / QUESTIONS_FILE, text)


def compared(run: Run, wanted: Sequence[str] = ()) -> tuple[str, str]:
    """The two strategies whose answers are compared: those that are named, else full and rag, else the first two.

    Raises:
        ConfigurationError: not two are named, or the run has no two.
        UnknownNameError: one is not in the run.
    """
    known = list(dict.fromkeys(row["strategy"] for row in run.rows if is_single(row["strategy"])))
    for name in wanted:
        if name not in known:
            raise UnknownNameError(f"strategy of {run.folder}", name, known)
    usual = ("full", "rag") if {"full", "rag"} <= set(known) else tuple(known[:2])
    chosen = tuple(wanted) or usual
    if len(set(chosen)) != 2:
        raise ConfigurationError(
            f"two strategies are compared, not {', '.join(chosen) or 'none'}",
            hint=f"name two of the run's: {', '.join(known) or 'it has none'}",
        )
    return chosen[0], chosen[1]


def pairs(run: Run, strategies: tuple[str, str]) -> list[Pair]:
    """The questions to which two strategies give other answers, in the order of the run."""
    asked = _questions(run.folder)
    rows = {(row["question_id"], row["strategy"]): row for row in run.rows}
    found = []
    for question_id in dict.fromkeys(row["question_id"] for row in run.rows):
        one, other = (rows.get((question_id, name)) for name in strategies)
        if one is None or other is None or not _answered(one) or not _answered(other) or _same(one, other):
            continue
        if hashlib.sha256(question_id.encode()).digest()[0] % 2:
            one, other = other, one
        found.append(Pair(question_id, asked.get(question_id, ""), one, other))
    return found


def read(folder: Path) -> list[dict[str, Any]]:
    """The verdicts of a run, in the order in which they were given.

    Raises:
        ConfigurationError: a line is damaged; a last one that a stop tore is left out.
    """
    file = folder / VERDICTS_FILE
    if not file.exists():
        return []
    *lines, _torn = file.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            verdict = json.loads(line)
            _ = verdict["question_id"], verdict["right"].items(), verdict["answers"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"{file}:{number}: no verdict", hint="delete the line, and label again") from error
        found.append(verdict)
    return found


def add(folder: Path, verdict: Mapping[str, Any]) -> None:
    """Appends a verdict.

    Raises:
        StoreError: the run's folder can't be written.
    """
    file = folder / VERDICTS_FILE
    try:
        if file.exists():
            os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(verdict, ensure_ascii=False) + "\n")
    except OSError as error:
        raise StoreError(f"{file} can't be written: {error.strerror}", hint="check the folder's permissions") from error


def is_labelled(pair: Pair, verdicts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the verdicts is of just these answers."""
    digests = {row["strategy"]: _digest(row) for row in (pair.first, pair.second)}
    return any(v["question_id"] == pair.question_id and v["answers"] == digests for v in verdicts)


def applied(rows: Sequence[Row], verdicts: Sequence[Mapping[str, Any]]) -> tuple[list[Row], int]:
    """Rows with the scores that verdicts give, 1 or 0, and how many have such a one. A verdict on an answer counts for
    every strategy that gave the same; of two verdicts the later one."""
    by_question: dict[str, list[Row]] = {}
    for row in rows:
        if _answered(row):
            by_question.setdefault(row["question_id"], []).append(row)
    scores: dict[tuple[str, str], float] = {}
    for verdict in verdicts:
        answers = by_question.get(verdict["question_id"], [])
        shown = {row["strategy"]: row for row in answers if row["strategy"] in verdict["right"]}
        if any(_digest(row) != verdict["answers"].get(name) for name, row in shown.items()):
            continue
        for name, row in shown.items():
            for each in answers:
                own = each["strategy"] in shown
                if each is row or (not own and _same(each, row)):
                    scores[each["question_id"], each["strategy"]] = float(verdict["right"][name])
    labelled = [
        cast(Row, {**row, "score": scores[key]}) if (key := (row["question_id"], row["strategy"])) in scores else row
        for row in rows
    ]
    return labelled, len(scores)


def _answered(row: Row) -> bool:
    return row["error"] is None and "left_out" not in row


def _same(one: Row, other: Row) -> bool:
    return agreement(one["answer"], other["answer"], abstained=(one["abstained"], other["abstained"])) >= SAME


def _digest(row: Row) -> str:
    return hashlib.sha256(json.dumps([row["answer"], row["abstained"]]).encode()).hexdigest()[:16]


def _questions(folder: Path) -> dict[str, str]:
    """What is asked, by id; nothing of runs that did not keep it."""
    file = folder / QUESTIONS_FILE
    if not file.exists():
        return {}
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        return {line["id"]: line["question"] for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{file} is damaged: {error}", hint="the same turnout eval run command writes it again"
        ) from error

"""Rows side by side: the questions that every strategy answered, and for each strategy one figure per question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigurationError
from turnout.router.evaluation.rows import Row, Run

Vector = NDArray[np.float64]

SINGLE = ("full", "rag", "extract", "soft", "rapid")
"""Strategies that a router chooses among; a name may carry a variant after a colon."""

ORDER = ("router", *SINGLE, "closed", "self_route", "task_rule", "random", "oracle")


def is_single(strategy: str) -> bool:
    """Whether it is a way to use the documents, and not a router, a control or a derived baseline."""
    return strategy.partition(":")[0] in SINGLE


def in_order(strategies: Iterable[str]) -> list[str]:
    """Sorted as reports list them; names that are not known come last."""
    place = {name: number for number, name in enumerate(ORDER)}
    return sorted(strategies, key=lambda name: (place.get(name.partition(":")[0], len(place)), name))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question's rows have in common. `context_tokens` counts the prompt with all documents."""

    id: str
    dataset: str
    task: str
    answer_type: str
    cluster: str
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Arm:
    """What one strategy scored and took; every array is [questions], in the order of the table.

    Attributes:
        ttft: seconds to the first word, NaN where none was shown.
        cost: as the table's `unit` says.
        rows: the rows behind the figures; empty where they are expectations.
        label: what a reader must know of a derived baseline.
    """

    name: str
    scores: Vector
    seconds: Vector
    ttft: Vector
    prompt_tokens: Vector
    cost: Vector
    rows: tuple[Row, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """All strategies over the same questions, which are sorted by dataset and id.

    Attributes:
        left_out: questions that are not in the table, because a row of theirs failed or is missing.
        failed_rows: rows with an error.
        unit: what `cost` counts: "cost" where every row has one, else "seconds".
    """

    questions: tuple[Asked, ...]
    arms: Mapping[str, Arm]
    left_out: int
    failed_rows: int
    unit: str

    @property
    def datasets(self) -> list[str]:
        """The dataset of each question."""
        return [question.dataset for question in self.questions]

    @property
    def clusters(self) -> list[str]:
        """The bootstrap unit of each question."""
        return [question.cluster for question in self.questions]


def tabulate(run: Run) -> Table:
    """Puts the rows of a run side by side.

    Raises:
        ConfigurationError: there is no question that every strategy answered.
    """
    by_question: dict[str, dict[str, Row]] = {}
    for row in run.rows:
        by_question.setdefault(row["question_id"], {})[row["strategy"]] = row
    strategies = in_order({row["strategy"] for row in run.rows})
    whole = [
        rows
        for rows in by_question.values()
        if len(rows) == len(strategies) and all(row["error"] is None for row in rows.values())
    ]
    failed = sum(row["error"] is not None for row in run.rows)
    if not whole:
        raise ConfigurationError(
            f"{run.folder} has no question that every strategy answered ({len(run.rows)} rows, {failed} failed)",
            hint="run the same turnout eval run command again: it goes on where it stood",
        )
    whole.sort(key=lambda rows: (rows[strategies[0]]["dataset"], rows[strategies[0]]["question_id"]))
    unit = "cost" if all(row["usage"].get("cost") is not None for rows in whole for row in rows.values()) else "seconds"
    return Table(
        questions=tuple(_asked(rows[strategies[0]]) for rows in whole),
        arms={name: _arm(name, [rows[name] for rows in whole], unit) for name in strategies},
        left_out=len(by_question) - len(whole),
        failed_rows=failed,
        unit=unit,
    )


def _asked(row: Row) -> Asked:
    return Asked(
        row["question_id"], row["dataset"], row["task"], row["answer_type"], row["cluster"], row["context_tokens"]
    )


def _arm(name: str, rows: Sequence[Row], unit: str) -> Arm:
    seconds = used(rows, "total_s")
    return Arm(
        name=name,
        scores=np.array([row["score"] for row in rows], dtype=float),
        seconds=seconds,
        ttft=used(rows, "ttft_s"),
        prompt_tokens=used(rows, "prompt_tokens"),
        cost=used(rows, "cost") if unit == "cost" else seconds,
        rows=tuple(rows),
    )


def used(rows: Sequence[Row], field: str) -> Vector:
    """One field of each row's usage, NaN where it is null."""
    values: list[Any] = [row["usage"].get(field) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=float)

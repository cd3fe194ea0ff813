"""Rows side by side: the questions that every strategy answered, and for each strategy one figure per question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigurationError
from turnout.router.evaluation.rows import Row, Run

Vector = NDArray[np.float64]
Places = NDArray[np.intp]

SINGLE = ("full", "rag", "extract", "soft", "rapid")
"""Strategies that a router chooses among; a name may carry a variant after a colon."""

ORDER = ("router", *SINGLE, "closed", "self_route", "task_rule", "random", "oracle")

REPEATED = 0.01
"""Costs within this share of the seconds are the seconds."""


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
    """What one strategy scored and took; every array is [questions], in the order of the table, and NaN at questions
    that the strategy was left out of.

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

    @property
    def answered(self) -> Places:
        """Where the questions stand that it was asked."""
        return np.flatnonzero(~np.isnan(self.scores))

    @property
    def own_rows(self) -> tuple[Row, ...]:
        """The rows behind the figures of those questions."""
        return tuple(row for row in self.rows if "left_out" not in row)


def both(first: Arm, *others: Arm) -> Places:
    """Where the questions stand that all of some strategies were asked."""
    return np.flatnonzero(~np.isnan(sum((arm.scores for arm in others), first.scores)))


@dataclass(frozen=True, slots=True)
class Table:
    """All strategies over the same questions, which are sorted by dataset and id. A question that is too long for one
    strategy is in the table for the others.

    Attributes:
        left_out: questions that are not in the table, because a row of theirs failed or is missing.
        failed_rows: rows of the run with an error.
        unit: what `cost` counts: "cost" where every row has one that says more than its seconds, else "seconds".
        unusable: strategies that are left out, since each of their rows failed or was too long, and how many failed.
    """

    questions: tuple[Asked, ...]
    arms: Mapping[str, Arm]
    left_out: int
    failed_rows: int
    unit: str
    unusable: Mapping[str, int] = field(default_factory=dict)

    @property
    def datasets(self) -> list[str]:
        """The dataset of each question."""
        return [question.dataset for question in self.questions]

    @property
    def clusters(self) -> list[str]:
        """The bootstrap unit of each question."""
        return [question.cluster for question in self.questions]


def tabulate(run: Run, wanted: Collection[str] | None = None) -> Table:
    """Puts the rows of a run side by side. A strategy that answered nothing is left out, and named in `unusable`.

    Args:
        wanted: the strategies that must have answered a question; all by default.

    Raises:
        ConfigurationError: there is no question that every strategy answered, but for those that are too long for it.
    """
    by_question: dict[str, dict[str, Row]] = {}
    failed: Counter[str] = Counter()
    for row in run.rows:
        if wanted is None or row["strategy"] in wanted:
            by_question.setdefault(row["question_id"], {})[row["strategy"]] = row
            failed[row["strategy"]] += row["error"] is not None
    answered = {row["strategy"] for rows in by_question.values() for row in rows.values() if _is_answered(row)}
    strategies = in_order(answered)
    whole = [
        rows
        for rows in by_question.values()
        if all(name in rows and rows[name]["error"] is None for name in answered)
        and any(_is_answered(rows[name]) for name in answered)
    ]
    if not whole:
        who = " and ".join(in_order(wanted)) if wanted else "every strategy"
        rows, errors = sum(map(len, by_question.values())), sum(failed.values())
        hint = "the same turnout eval run command runs failed and missing rows again"
        if any("left_out" in row for row in run.rows):
            hint += "; what is too long for a strategy has no answer: use a larger window, or --over-window cut"
        raise ConfigurationError(
            f"{run.folder} has no question that {who} answered ({rows} rows, {errors} failed)",
            hint=hint,
        )
    whole.sort(key=lambda rows: (rows[strategies[0]]["dataset"], rows[strategies[0]]["question_id"]))
    unit = _unit([[rows[name] for rows in whole] for name in strategies])
    return Table(
        questions=tuple(_asked(rows[strategies[0]]) for rows in whole),
        arms={name: _arm(name, [rows[name] for rows in whole], unit) for name in strategies},
        left_out=len(by_question) - len(whole),
        failed_rows=sum(row["error"] is not None for row in run.rows),
        unit=unit,
        unusable={name: failed[name] for name in in_order(failed.keys() - answered)},
    )


def _is_answered(row: Row) -> bool:
    return row["error"] is None and "left_out" not in row


def _unit(arms: Sequence[Sequence[Row]]) -> str:
    """A local engine's cost is its seconds, and would only repeat them."""
    arms = [[row for row in rows if "left_out" not in row] for rows in arms]
    costs = [_cost(rows).sum() for rows in arms]
    seconds = [sum(row["usage"].get("total_s") or 0.0 for row in rows if "refused" not in row) for rows in arms]
    return "seconds" if np.isnan(costs).any() or np.allclose(costs, seconds, rtol=REPEATED, atol=0) else "cost"


def _cost(rows: Sequence[Row]) -> Vector:
    """NaN where it is not known. Where the router refused, nothing was called that costs."""
    return np.where(["refused" in row for row in rows], 0.0, used(rows, "cost"))


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
        cost=_cost(rows) if unit == "cost" else seconds,
        rows=tuple(rows),
    )


def used(rows: Sequence[Row], field: str) -> Vector:
    """One field of each row's usage, NaN where it is null."""
    values: list[Any] = [row["usage"].get(field) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def predicted_and_measured(rows: Iterable[Row], name: str) -> list[tuple[float, float]]:
    """Pairs of one of "ttft_s" and "total_s", of rows for which the strategy's own model wrote something."""
    pairs = [
        (row["predicted"].get(name), row["usage"].get(name))
        for row in rows
        if row["error"] is None
        and row["fallback"] is None
        and "refused" not in row
        and row["usage"].get("completion_tokens")
    ]
    return [(predicted, measured) for predicted, measured in pairs if predicted and measured]

"""Score, cost and regret of policies on some questions and models of a board.

Every question counts with its mean over the models that answered it in both ways. Scores and regret are macro over
tasks, their intervals bootstrapped over documents; token F1, prompt tokens and the share of full are means over all
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.router.evaluation.routing_policies import Board, Matrix
from turnout.router.evaluation.statistics import Interval, macro_interval, paired_difference

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """The questions at `rows` and the models at `columns` of a board; each row has at least one model with both."""

    board: Board
    rows: NDArray[np.intp]
    columns: slice
    seed: int

    @property
    def tasks(self) -> NDArray[np.str_]:
        """The gold task of each question."""
        return np.array(self.board.tasks)[self.rows]

    @property
    def documents(self) -> NDArray[np.str_]:
        """The document of each question."""
        return np.array(self.board.documents)[self.rows]

    def cut(self, values: Matrix) -> Matrix:
        """This part of a matrix, NaN where either answer is missing."""
        inside: Matrix = np.where(np.isnan(self.board.full), np.nan, values)[self.rows, self.columns]
        return inside

    def scores(self, share: Matrix) -> Matrix:
        """A policy's score on each question, shape (questions,)."""
        means: Matrix = np.nanmean(self.cut(mixed(share, self.board.full, self.board.rag)), axis=1)
        return means


def part(board: Board, length: str, column: int | None, seed: int) -> Part:
    """The questions of one length, over all models or over the one in a column."""
    columns = slice(None) if column is None else slice(column, column + 1)
    answered = ~np.isnan(board.full[:, columns]).all(axis=1)
    return Part(board, np.flatnonzero(answered & (np.array(board.lengths) == length)), columns, seed)


def figures(part: Part, shares: Mapping[str, Matrix], *, task_intervals: bool = True) -> dict[str, Any]:
    """Each policy's figures, overall and by task, and the better of the two single arms.

    Args:
        shares: by policy the share of full, [questions, models] of the whole board; full, rag and oracle among them.
        task_intervals: whether a single task's score and regret have an interval too, or only their mean.
    """
    if not len(part.rows):
        return {"questions": 0, "documents": 0, "best_single": None, "policies": {}}
    best = part.scores(shares["oracle"])
    policies = {name: _policy(part, share, best, task_intervals) for name, share in shares.items()}
    return {
        "questions": len(part.rows),
        "documents": len(set(part.documents)),
        "best_single": max(("full", "rag"), key=lambda name: policies[name]["score"]["mean"]),
        "policies": policies,
    }


def differences(part: Part, shares: Mapping[str, Matrix]) -> dict[str, Any]:
    """What the router scores above each other policy, question by question."""
    router, tasks, documents = part.scores(shares["router"]), list(part.tasks), list(part.documents)
    return {
        name: interval_json(paired_difference(router, part.scores(share), documents, tasks, seed=part.seed))
        for name, share in shares.items()
        if name != "router"
    }


def mixed(share: Matrix, full: Matrix, rag: Matrix) -> Matrix:
    """The expected figure where `share` of the choices are full."""
    return share * full + (1 - share) * rag


def _policy(part: Part, share: Matrix, best: Matrix, task_intervals: bool) -> dict[str, Any]:
    board = part.board
    scores = part.scores(share)
    others = {
        "token_f1": part.cut(mixed(share, board.full_f1, board.rag_f1)),
        "prompt_tokens": part.cut(mixed(share, board.full_tokens[:, None], board.rag_tokens[:, None])),
        "full_share": part.cut(share),
    }

    def macro(values: Matrix) -> dict[str, float]:
        return interval_json(macro_interval(values, list(part.documents), list(part.tasks), seed=part.seed))

    def of_task(values: Matrix, inside: NDArray[np.bool_]) -> dict[str, float]:
        if not task_intervals:
            return {"mean": round(float(values[inside].mean()), DIGITS)}
        one = [""] * int(inside.sum())
        return interval_json(macro_interval(values[inside], list(part.documents[inside]), one, seed=part.seed))

    def others_of(inside: NDArray[np.bool_] | slice) -> dict[str, float]:
        return {name: round(float(np.nanmean(values[inside])), DIGITS) for name, values in others.items()}

    tasks = {str(task): part.tasks == task for task in np.unique(part.tasks)}
    return {
        "score": macro(scores),
        "regret": macro(best - scores),
        **others_of(slice(None)),
        "tasks": {
            task: {
                "questions": int(inside.sum()),
                "score": of_task(scores, inside),
                "regret": of_task(best - scores, inside),
                **others_of(inside),
            }
            for task, inside in tasks.items()
        },
    }


def interval_json(interval: Interval) -> dict[str, float]:
    """A mean with its 95% interval, rounded."""
    named = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    return {name: round(value, DIGITS) for name, value in named.items()}

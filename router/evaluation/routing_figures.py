"""Score, cost and regret of policies on some questions and models of a board.

Every question counts with its mean over the models that answered it in both ways, and every figure is macro over tasks.
A document has questions of several tasks, so the bootstrap draws documents for all tasks at once; documents with text
in common are drawn together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.router.evaluation.routing_policies import CUT_TOKENS, Board, Matrix, document_tokens
from turnout.router.evaluation.statistics import macro, macro_interval

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
    def clusters(self) -> NDArray[np.str_]:
        """The group of documents of each question."""
        return np.array(self.board.clusters)[self.rows]

    def cut(self, values: Matrix) -> Matrix:
        """This part of a matrix, NaN where either answer is missing."""
        inside: Matrix = np.where(np.isnan(self.board.full), np.nan, values)[self.rows, self.columns]
        return inside

    def scores(self, share: Matrix) -> Matrix:
        """A policy's score on each question, shape (questions,)."""
        return self.over_models(mixed(share, self.board.full, self.board.rag))

    def over_models(self, values: Matrix) -> Matrix:
        """The mean over the models that answered, shape (questions,)."""
        means: Matrix = np.nanmean(self.cut(values), axis=1)
        return means

    def interval(self, values: Matrix, inside: NDArray[np.bool_] | slice = slice(None)) -> dict[str, float]:
        """The macro over tasks with its 95% interval, rounded; `values` by question, of which those `inside` count."""
        tasks = list(self.tasks[inside])
        found = macro_interval(
            values[inside], list(self.clusters[inside]), tasks, seed=self.seed, strata=[""] * len(tasks)
        )
        named = {"mean": found.mean, "low": found.low, "high": found.high}
        return {name: round(value, DIGITS) for name, value in named.items()}


def part(board: Board, length: str, column: int | None, seed: int) -> Part:
    """The questions of one length, over all models or over the one in a column."""
    columns = slice(None) if column is None else slice(column, column + 1)
    answered = ~np.isnan(board.full[:, columns]).all(axis=1)
    return Part(board, np.flatnonzero(answered & (np.array(board.lengths) == length)), columns, seed)


def figures(part: Part, shares: Mapping[str, Matrix], *, by_task: bool = True) -> dict[str, Any]:
    """Each policy's figures, overall and by task, and the better of the two single arms.

    Args:
        shares: by policy the share of full, [questions, models] of the whole board; full, rag and oracle among them.
        by_task: whether a single task has all figures, or only its mean score.

    Returns:
        questions, documents, groups (of documents), full_cut (questions whose text LaRA cut in the middle),
        best_single (the cheaper of equals), policies {name: figures}.
    """
    if not len(part.rows):
        return {"questions": 0, "documents": 0, "groups": 0, "full_cut": 0, "best_single": None, "policies": {}}
    best = part.scores(shares["oracle"])
    policies = {name: _policy(part, share, best, by_task) for name, share in shares.items()}
    items = [part.board.items[row] for row in part.rows]
    return {
        "questions": len(part.rows),
        "documents": len({item.doc_ids[0] for item in items}),
        "groups": len(set(part.clusters)),
        "full_cut": sum(document_tokens(item) > CUT_TOKENS for item in items),
        # max takes the first of equals, and rag never reads more than full.
        "best_single": max(("rag", "full"), key=lambda name: policies[name]["score"]["mean"]),
        "policies": policies,
    }


def differences(part: Part, shares: Mapping[str, Matrix]) -> dict[str, Any]:
    """What the router scores above each other policy, question by question."""
    router = part.scores(shares["router"])
    return {name: part.interval(router - part.scores(share)) for name, share in shares.items() if name != "router"}


def mixed(share: Matrix, full: Matrix, rag: Matrix) -> Matrix:
    """The expected figure where `share` of the choices are full."""
    return share * full + (1 - share) * rag


def _policy(part: Part, share: Matrix, best: Matrix, by_task: bool) -> dict[str, Any]:
    board = part.board
    scores, tasks = part.scores(share), part.tasks
    costs = {
        "token_f1": part.over_models(mixed(share, board.full_f1, board.rag_f1)),
        "prompt_tokens": part.over_models(mixed(share, board.full_tokens[:, None], board.rag_tokens[:, None])),
        "full_share": part.over_models(share),
    }

    def entry(inside: NDArray[np.bool_] | slice) -> dict[str, Any]:
        return {
            "score": part.interval(scores, inside),
            "regret": part.interval(best - scores, inside),
            **{name: round(macro(values[inside], list(tasks[inside])), DIGITS) for name, values in costs.items()},
        }

    def of_task(inside: NDArray[np.bool_]) -> dict[str, Any]:
        if not by_task:
            return {"score": {"mean": round(float(scores[inside].mean()), DIGITS)}}
        return {"questions": int(inside.sum()), **entry(inside)}

    return {**entry(slice(None)), "tasks": {str(task): of_task(tasks == task) for task in np.unique(tasks)}}

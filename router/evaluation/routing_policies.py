"""Policies that choose between two known answers: for each question and model, the share of full against rag.

A policy is a matrix of shares, [questions, models]: 1 takes full, 0 takes rag, and a value between is a chance. Its
score and its cost follow from the two arms, so nothing is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from turnout.router.cost import candidate
from turnout.router.evaluation.attainable import prefers_full
from turnout.router.evaluation.lara import Grade, Key
from turnout.router.evaluation.schema import Item
from turnout.router.kinds import shares as kind_shares
from turnout.router.policy import decide
from turnout.router.profile import ModelProfile
from turnout.router.quality import prior
from turnout.router.questions import new_tokens, task_of
from turnout.router.signals import Signals
from turnout.types import Budget, Question

Matrix = NDArray[np.float64]

CHARACTERS_PER_TOKEN = 4.2
"""The data's own estimate; LaRA's models have different tokenizers."""

CHUNKS_TOKENS = 5 * 600
"""LaRA's retrieval arm keeps five chunks of 600 tokens."""

CUT_TOKENS = 127_000
"""LaRA's full arm cuts longer texts in the middle."""

# Parameters and window as published. Where the weights are local, turnout counts their parameters. The closed models
# are only to be had behind a server, of which it never knows the size: quality.py then counts 8B. Their windows are for
# the server or the user to say.
MODELS: Mapping[str, tuple[int | None, int]] = {
    "claude-3-5-haiku-20241022": (None, 200_000),
    "claude-3-5-sonnet-20241022": (None, 200_000),
    "gemini-1.5-pro": (None, 2_000_000),
    "gpt-4o": (None, 128_000),
    "gpt-4o-0806": (None, 128_000),
    "gpt-4o-mini": (None, 128_000),
    "llama-3.1-8b": (8_030_000_000, 131_072),
    "llama-3.2-3b": (3_210_000_000, 131_072),
    "llama-3.3-70b": (70_600_000_000, 131_072),
    "llama-3.3-70b-turbo": (70_600_000_000, 131_072),
    "mistral-nemo": (12_200_000_000, 128_000),
    "qwen2.5-72b-instruct": (72_700_000_000, 131_072),
    "qwen2.5-7b-instruct": (7_610_000_000, 131_072),
}
UNKNOWN_MODEL = (None, 128_000)

POLICIES: Mapping[str, str] = {
    "router": "turnout's own choice: kind of question by the wording, length, window; size of models with open weights",
    "router_remote": "the same with every model behind a server, so that no size is known",
    "learned": "the same, fitted on other documents alone, with the model's answers on them: a calibration of it",
    "learned_new": "the same, fitted on other documents and other models alone",
    "wording": "boosted trees on the words of the questions, length and domain, fitted on other documents",
    "full": "the whole text for every question",
    "rag": "retrieval for every question",
    "random": "a random mixture of full and rag at the router's cost, for each model and length",
    "task_rule": "LaRA's rule, told the gold task and the length",
    "attainable": "out-of-fold predictor, told gold task, length, domain and the other models' scores on the question",
    "oracle": "the better of the two answers, known after the fact; the cheaper one where they are equal",
}


@dataclass(frozen=True, slots=True)
class Board:
    """Both ways' figures for every question and model, [questions, models]; NaN where either answer is missing.

    `full_tokens` and `rag_tokens` are prompt tokens by question, [questions]; `groups` has by document the group of
    documents with text in common that it belongs to.
    """

    items: tuple[Item, ...]
    models: tuple[str, ...]
    full: Matrix
    rag: Matrix
    full_f1: Matrix
    rag_f1: Matrix
    full_tokens: Matrix
    rag_tokens: Matrix
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The gold task of each question."""
        return [item.task for item in self.items]

    @property
    def lengths(self) -> list[str]:
        """LaRA's length class of each question, "32k" or "128k"."""
        return [length(item) for item in self.items]

    @property
    def documents(self) -> list[str]:
        """The document of each question."""
        return [item.doc_ids[0] for item in self.items]

    @property
    def clusters(self) -> list[str]:
        """The group of documents of each question, which the bootstrap draws and folds keep together."""
        return [self.groups.get(document, document) for document in self.documents]


def board(items: Sequence[Item], grades: Mapping[Key, Grade], groups: Mapping[str, str] | None = None) -> Board:
    """Puts the grades of both ways side by side.

    Args:
        groups: by document the group that it belongs to; a document that is not in it is a group of its own.
    """
    models = tuple(sorted({model for _, model, _ in grades}))

    def figures(way: str, figure: Callable[[Grade], float]) -> Matrix:
        matrix = np.full((len(items), len(models)), np.nan)
        for row, item in enumerate(items):
            for column, model in enumerate(models):
                if {(item.id, model, "full"), (item.id, model, "rag")} <= grades.keys():
                    matrix[row, column] = figure(grades[item.id, model, way])
        return matrix

    asked = np.array([tokens(item.question) for item in items], dtype=float)
    text = np.array([document_tokens(item) for item in items], dtype=float)
    return Board(
        items=tuple(items),
        models=models,
        full=figures("full", lambda grade: grade.score),
        rag=figures("rag", lambda grade: grade.score),
        full_f1=figures("full", lambda grade: grade.token_f1),
        rag_f1=figures("rag", lambda grade: grade.token_f1),
        full_tokens=asked + np.minimum(text, CUT_TOKENS),
        rag_tokens=asked + np.minimum(text, CHUNKS_TOKENS),
        groups=groups or {},
    )


def shares(board: Board, fitted: Mapping[str, Matrix] = MappingProxyType({})) -> dict[str, Matrix]:
    """Each policy's share of full, [questions, models], in the order of POLICIES.

    Args:
        fitted: the shares of policies that are fitted on the board itself.

    Where there are too few models or documents to predict from, attainable is not there.
    """
    router, remote = (
        np.column_stack([[routed(item, model, at) == "full" for item in board.items] for model in board.models])
        for at in (False, True)
    )
    rule = np.array([task_rule(item) == "full" for item in board.items], dtype=float)
    told = [str(item.meta.get("domain", "")) for item in board.items]
    attainable = prefers_full(board.full, board.rag, board.tasks, board.lengths, told, board.clusters)
    by_name = {
        "router": router.astype(float),
        "router_remote": remote.astype(float),
        "full": np.ones_like(board.full),
        "rag": np.zeros_like(board.full),
        "random": random_mixture(board, router.astype(float)),
        "task_rule": np.repeat(rule[:, None], len(board.models), axis=1),
        "oracle": (board.full > board.rag).astype(float),
        **fitted,
    }
    if attainable is not None:
        by_name["attainable"] = attainable.astype(float)
    return {name: by_name[name] for name in POLICIES if name in by_name}


def routed(item: Item, model: str, remote: bool = False) -> str:
    """What turnout's own rule chooses for a question and a model, "full" or "rag".

    It knows the question's wording, the size of its document, the model's window and, where its weights can be local,
    its size. No seconds are known, so the unit of time is the prompt token.

    Args:
        remote: the model is behind a server, so that its size is not known.
    """
    at = signals(item, model, remote)
    in_tokens = ModelProfile(
        per_token_s=1.0,
        per_pair_s=0.0,
        token_s=0.0,
        token_per_context_s=0.0,
        outside_s={"full": 0.0, "rag": 0.0},
    )
    prompts = {"full": at.full_tokens, "rag": at.overhead_tokens + min(at.document_tokens, CHUNKS_TOKENS)}
    candidates = [
        candidate(way, prior(at.parameters).expected(way, at), prompt, at, in_tokens, lambda *_: None)
        for way, prompt in prompts.items()
    ]
    return decide(candidates, Budget(), at, in_tokens).chosen


def signals(item: Item, model: str, remote: bool = False) -> Signals:
    """What the router knows of a question before it decides; behind a server, no model's size."""
    parameters, window = MODELS.get(model, UNKNOWN_MODEL)
    question = Question(item.question, item.question, task_of(item.question))
    most, expected = new_tokens(question)
    asked, text = tokens(item.question), document_tokens(item)
    return Signals(
        task=question.task,
        question_tokens=asked,
        overhead_tokens=asked,
        document_tokens=text,
        full_tokens=asked + text,
        documents=len(item.doc_ids),
        segments=text // 600 + 1,
        window=window,
        max_new_tokens=most,
        expected_new_tokens=expected,
        parameters=None if remote else parameters,
        counts_exact=False,
        free_memory_bytes=None,
        kinds=kind_shares(item.question),
    )


def task_rule(item: Item) -> str:
    """LaRA's rule as its table suggests it: comparison takes full, hallucination rag, the rest full only at 32k."""
    if item.task in ("comparison", "hallucination"):
        return "full" if item.task == "comparison" else "rag"
    return "full" if length(item) == "32k" else "rag"


def random_mixture(board: Board, like: Matrix) -> Matrix:
    """One share of full for each model and length, such that the expected cost is that of the policy `like`.

    The cost that is held equal is that of the tables: the mean over tasks of the mean prompt.
    """
    mixed = np.zeros_like(like)
    extra = np.where(np.isnan(board.full), 0.0, (board.full_tokens - board.rag_tokens)[:, None])
    lengths, tasks = np.array(board.lengths), np.array(board.tasks)
    for name in dict.fromkeys(board.lengths):
        inside = lengths == name
        for task in set(tasks[inside]):
            asked = inside & (tasks == task)
            extra[asked] /= np.maximum((~np.isnan(board.full[asked])).sum(axis=0), 1)
        total = extra[inside].sum(axis=0)
        mixed[inside] = np.divide((like * extra)[inside].sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    return mixed


def length(item: Item) -> str:
    """LaRA's length class of a question."""
    return str(item.meta.get("length", ""))


def document_tokens(item: Item) -> int:
    """Estimated tokens of a question's documents."""
    return round(item.context_chars / CHARACTERS_PER_TOKEN)


def tokens(text: str) -> int:
    """Estimated tokens of a short text."""
    return max(round(len(text) / CHARACTERS_PER_TOKEN), 1)

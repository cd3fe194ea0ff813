"""Lessons of soft tokens: prompts over passages with the pieces of the text, and what the model itself answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from turnout.compression.soft import cut
from turnout.documents import Span
from turnout.engines.local import LocalEngine
from turnout.engines.soft.reading import around
from turnout.errors import ConfigurationError
from turnout.training.data import TrainingData
from turnout.training.recipe import draws
from turnout.training.tokens import TokenisedSheets
from turnout.types import Context, Part


@dataclass(frozen=True, slots=True)
class SoftRecipe:
    """What soft tokens are trained with. The published recipe (arXiv 2509.19228) has no rank, rate or steps; these are
    ours.

    Attributes:
        rate: tokens that one soft token stands for.
        examples: prompts at most; None takes all.
        max_tokens: longest prompt with its answer.
        answer_tokens: most of an answer that the model writes to learn from.
        rank, alpha: of the LoRA weights.
        batch_tokens: tokens a step, padding included.
        learning_rate: at its highest, after `warmup` of the steps; then down to nothing along a cosine.
        steps: at most; None goes through all prompts once.
        without: datasets left out.
    """

    rate: int = 2
    examples: int | None = None
    max_tokens: int = 1024
    answer_tokens: int = 64
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    batch_tokens: int = 8192
    learning_rate: float = 1e-4
    warmup: float = 0.03
    steps: int | None = None
    seed: int = 1
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rate not in (2, 4):
            raise ConfigurationError(f"a rate of {self.rate} is not trained", hint="give 2 or 4")
        for name in ("max_tokens", "answer_tokens", "rank", "alpha", "batch_tokens", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, not above 0")
        if self.batch_tokens < self.max_tokens:
            raise ConfigurationError(
                f"batch_tokens ({self.batch_tokens}) is below max_tokens ({self.max_tokens})",
                hint="one example must fit into a batch",
            )


def prompts(
    data: TrainingData, fold: str, engine: LocalEngine, recipe: SoftRecipe, limit: int | None, piece_tokens: int
) -> TokenisedSheets:
    """Prompts over passages, in random order: of each token its piece of the passage, from 1, or 0. Those that are too
    long are left out."""
    chosen = [example for example in data.examples if example.fold == fold]
    draws("soft", recipe.seed, fold).shuffle(chosen)

    def found() -> Iterator[tuple[list[int], list[int]]]:
        for example in chosen:
            text = data.passages[example.passage].text
            part = Part(text, Span(example.passage, 0, len(text)))
            before, after = around(engine.tokenizer, Context((part,), example.question))
            pieces = cut(*engine.placed(text), text, piece_tokens)
            tokens = sum(map(len, pieces))
            if not pieces or len(before) + tokens + len(after) + recipe.answer_tokens > recipe.max_tokens:
                continue
            numbers = [number for number, piece in enumerate(pieces, 1) for _ in piece]
            yield (
                [*before, *(t for piece in pieces for t in piece), *after],
                [0] * len(before) + numbers + [0] * len(after),
            )

    rows = found()
    kept = rows if limit is None else (row for row, _ in zip(rows, range(limit), strict=False))
    return _sheets((ids, branches, 0) for ids, branches in kept)


def answered(asked: TokenisedSheets, answers: Sequence[Sequence[int]], end: int, most: int) -> TokenisedSheets:
    """The prompts with the model's own answers, of which one that did not end is learnt without an end; prompts that it
    answered with nothing are left out.

    Args:
        end: token that ends an answer.
        most: tokens from which an answer did not end.
    """

    def found() -> Iterator[tuple[list[int], list[int], int]]:
        for sheet, answer in zip(asked, answers, strict=True):
            if answer:
                said = [*answer] if len(answer) >= most else [*answer, end]
                yield [*map(int, sheet.ids), *said], [*map(int, sheet.branches), *(0 for _ in said)], len(said)

    return _sheets(found())


def _sheets(rows: Iterable[tuple[Sequence[int], Sequence[int], int]]) -> TokenisedSheets:
    """From (ids, branches, tokens at the end that are learnt)."""
    ids: list[int] = []
    branches: list[int] = []
    learnt: list[bool] = []
    starts = [0]
    for row, numbers, last in rows:
        ids += row
        branches += numbers
        learnt += [False] * (len(row) - last) + [True] * last
        starts.append(len(ids))
    return TokenisedSheets(
        np.array(ids, np.uint32), np.array(branches, np.uint16), np.array(learnt, np.bool_), np.array(starts, np.int64)
    )

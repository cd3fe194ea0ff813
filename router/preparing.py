"""Preparing what the engine reads, in steps where the strategy takes the engine for it, and what that took."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from turnout.contracts import PreparesInSteps, Strategy
from turnout.retrieval.corpus import Corpus
from turnout.steps import Steps
from turnout.types import Budget, Context, Finished, Prefilled, Question, Reading


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the engine will read, and how each asking of the reader before ended."""

    context: Context
    asked: tuple[Finished, ...] = ()


def in_steps(
    strategy: Strategy, question: Question, corpus: Corpus, budget: Budget, namespace: str | None
) -> Steps[Context]:
    """`prepare` of any strategy; of most it is one step that tells nothing."""
    if isinstance(strategy, PreparesInSteps):
        return (yield from strategy.preparing(question, corpus, budget, namespace))
    return strategy.prepare(question, corpus, budget)


def prepared(steps: Steps[Context], go_on: Callable[[], None]) -> Generator[Reading, None, Prepared]:
    """Does the steps.

    Args:
        go_on: called after each; raises where the caller gave up or a limit is over.
    """
    asked: list[Finished] = []
    with closing(steps):
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return Prepared(end.value, tuple(asked))
            if isinstance(event, Finished):
                asked.append(event)
            elif isinstance(event, Prefilled):
                yield Reading(event.done, event.total)
            go_on()


def together(asked: Sequence[Finished], last: Finished) -> Finished:
    """All tokens, and the most memory, of several askings; everything else is of the last."""
    every = (*asked, last)
    memory = [each.peak_memory_bytes for each in every if each.peak_memory_bytes is not None]
    return Finished(
        last.reason,
        sum(each.prompt_tokens for each in every),
        sum(each.completion_tokens for each in every),
        sum(each.cached_tokens for each in every),
        last.first_token_s,
        max(memory, default=None),
    )


def attempts(asked: Sequence[Finished], strategy: str) -> tuple[Mapping[str, Any], ...]:
    """The askings before the last, for `Usage.attempts`."""
    return tuple(
        {
            "strategy": strategy,
            "follow_up": number,
            "prompt_tokens": each.prompt_tokens,
            "cached_tokens": each.cached_tokens,
            "completion_tokens": each.completion_tokens,
        }
        for number, each in enumerate(asked, 1)
    )

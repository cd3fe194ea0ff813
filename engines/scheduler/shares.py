"""Who reads how much of a prompt in a step.

A step has a budget of work, counted in tokens at the beginning of a prompt. A token further on counts more, since it
looks at all before it: so every step takes about as long as any other, however long the prompts are, and who comes
meanwhile waits no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnout.engines.folder import ModelFolder
from turnout.engines.paged.pages import PAGE

ATTENTION_COST = 2.0
"""Time of an operation of attention beside one of a matrix product, on a CPU (benchmarks/results/engine_speed.json)."""

AT_ONCE = 16
"""Requests that are read or written at once: as many as a step of few tokens takes, see `paged.lean.ROWS`."""

SHARED = 2
"""With several requests a step does one of so many parts of what it does for one alone."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is left to read.

    Attributes:
        left: tokens.
        depth: tokens before them.
        grid: tokens that have to be read together, see `AttentionPolicy`; 1 for any number.
    """

    left: int
    depth: int
    grid: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """What a step may do.

    Args:
        chunk: tokens of a step at the beginning of a prompt.
        half: tokens before a token by which it takes twice as long.
    """

    chunk: int
    half: float

    def budget(self, at_once: int) -> int:
        """The work of a step, for so many requests."""
        return self.chunk if at_once <= 1 else max(self.chunk // SHARED, 1)

    def shares(self, prompts: Sequence[Prompt], budget: int) -> list[int]:
        """Tokens of each prompt, 0 for one that has to wait for the next step.

        The first prompt, which waits longest, gets half of the budget at least, so that it is always read on. The rest
        is for those that are done soonest, so that a short question is not kept waiting by a long document.
        """
        if not prompts:
            return []
        found = [0] * len(prompts)
        budget = max(budget, 1)
        left = float(budget) if len(prompts) == 1 else budget / 2
        for at in sorted(range(1, len(prompts)), key=lambda at: (prompts[at].left, at)):
            if left <= 0:
                break
            found[at] = self._tokens(prompts[at], left)
            left -= self._work(prompts[at], found[at])
        found[0] = self._tokens(prompts[0], max(left, 0) + (budget / 2 if len(prompts) > 1 else 0))
        return found

    def _tokens(self, prompt: Prompt, work: float) -> int:
        if prompt.grid > 1:
            return min(prompt.grid - prompt.depth % prompt.grid, prompt.left)
        fitting = int(work * self.half / (self.half + prompt.depth))
        return min(fitting // PAGE * PAGE or min(PAGE, max(int(work), 1)), prompt.left)

    def _work(self, prompt: Prompt, tokens: int) -> float:
        return tokens * (1 + prompt.depth / self.half)


def half_of(model: ModelFolder) -> float:
    """Tokens before a token by which it takes twice as long: where attention, of 4 operations a query number, takes as
    long as the matrices, of 2 a weight."""
    numbers = max(model.hidden, model.head_dim * model.kv_heads) * model.layers
    return max(2 * model.parameters / (4 * numbers * ATTENTION_COST), 1.0)

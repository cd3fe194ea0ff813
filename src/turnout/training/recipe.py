"""What a reader is trained with: the numbers that its weights depend on, kept beside them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from turnout.engines.adapter import EVIDENCE
from turnout.errors import ConfigurationError, UnknownNameError

Evidence = Literal["number", "after", "sentence", "none"]
"""What an answer gives as evidence: first the number of the sentence that it rests on, in a text whose sentences are
numbered; that number after the answer; first that whole sentence; or nothing."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Examples and optimisation. Shares are of 1; what `among` and `long` leave is the gold passage alone.

    Attributes:
        max_tokens: longest prompt with its answer.
        among: share of contexts with other passages, as passages that were searched for stand.
        among_tokens: how long those contexts are, and at most a passage alone that is asked for a short answer.
        free_tokens: most of a passage that is asked for a long answer.
        long: share of contexts of up to `max_tokens`.
        left_out: how many questions are asked without their passage, to be refused, for each one asked over it.
        twisted: questions bent so that their text does not answer them, to be refused, for each one asked over a text
            alone (`twists`).
        as_choice: share of the extractive questions that are asked with options.
        kept: examples of the model's own answers to other requests, over all the others: what it could do it shall
            still do.
        rank, alpha, dropout: of the adapter (LoRA, arXiv 2106.09685).
        rounds: how often every example is seen, each time in another context.
        limit: examples of each round; None takes all.
        limits: (dataset, examples of it in each round), for datasets that shall not take more of the time.
        tokens: where sheets end, in tokens of all of them together: a run of known length over examples of which more
            share a text than if fewer were drawn; None takes all.
        steps: at most; the rate falls to nothing at the last of them. None goes through all sheets.
        batch_tokens: tokens a step, padding included.
        learning_rate: at its highest, after `warmup` of the steps; then down to nothing along a cosine.
        without: datasets left out, for their licence or otherwise.
    """

    evidence: Evidence = "number"
    max_tokens: int = 4096
    among: float = 0.35
    among_tokens: tuple[int, int] = (300, 1100)
    free_tokens: int = 1500
    long: float = 0.15
    left_out: float = 0.12
    twisted: float = 0.1
    as_choice: float = 0.05
    kept: float = 0.1
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    batch_tokens: int = 8192
    learning_rate: float = 5e-4
    warmup: float = 0.03
    rounds: int = 1
    limit: int | None = None
    limits: tuple[tuple[str, int], ...] = ()
    tokens: int | None = None
    steps: int | None = None
    seed: int = 1
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.evidence not in EVIDENCE:
            raise UnknownNameError("evidence", self.evidence, EVIDENCE)
        for name in ("among", "long", "left_out", "twisted", "as_choice", "kept", "warmup", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, not a share between 0 and 1")
        if self.among + self.long > 1:
            raise ConfigurationError(f"among ({self.among}) and long ({self.long}) are over 1 together")
        for name in ("max_tokens", "rank", "alpha", "free_tokens", "batch_tokens", "learning_rate", "rounds"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, not above 0")
        if self.batch_tokens < self.max_tokens:
            raise ConfigurationError(
                f"batch_tokens ({self.batch_tokens}) is below max_tokens ({self.max_tokens})",
                hint="one example must fit into a batch",
            )


def draws(*key: object) -> random.Random:
    """Random draws that are the same for the same key, in every process."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - repeatable draws, no secrets

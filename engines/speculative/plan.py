"""What is asked of speculative decoding, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.types import Context, Part

Mode = Literal["lossless", "steered", "paper"]
Tail = Literal["steered", "draft"]

MOST_DRAFTED = 15
"""Tokens of a round at most: with the last one written they are a step of few tokens, see `paged.lean.ROWS`."""

MOST_ETA = 100.0
"""Twice the largest of the paper's experiments."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """How a drafter that reads passages and a target that reads everything write together (RAPID, arXiv 2502.20330).

    With p the target's and q the drafter's distribution of a token, `eta` steers the target: p_hat is proportional to
    p * exp(eta * (q - p)), equation 6 of the paper.

    Attributes:
        mode: "lossless" writes as the target alone does (eta is 0). "steered" writes by p_hat, whatever is drafted: an
            ensemble of both readers. "paper" is the published algorithm: its drafted tokens are accepted by p_hat, the
            others are the target's. The paper calls that lossless; for eta > 0 it is not, since its residual clips what
            would have to be negative, and its law depends on gamma.
        eta: on the scale of logits.
        gamma: tokens drafted in a round, at most; where measured times say so fewer, but not for "paper" nor with a
            seed.
        confidence: drafting stops after a token to which the drafter gives less. That token stays: to leave it out
            because of what was drawn would change the law.
        tail: where steering is undone. "steered": for tokens with p_hat under 0.1 of its maximum (equation 9; the sum
            is then made 1 again, of which the paper says nothing). "draft": for those with q under 0.1 of its maximum,
            before the softmax, as the released code has it.

    Raises:
        ConfigurationError: a figure is out of its range, or eta does not go with the mode.
        UnknownNameError: no such mode or tail.
    """

    mode: Mode = "lossless"
    eta: float = 0.0
    gamma: int = 10
    confidence: float = 0.1
    tail: Tail = "steered"

    def __post_init__(self) -> None:
        for kind, name, known in (("mode", self.mode, get_args(Mode)), ("tail", self.tail, get_args(Tail))):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if isinstance(self.gamma, bool) or not isinstance(self.gamma, int) or not 1 <= self.gamma <= MOST_DRAFTED:
            raise ConfigurationError(f"gamma is {self.gamma!r}, tokens of a draft", hint=f"1 to {MOST_DRAFTED}")
        _check("eta", self.eta, MOST_ETA)
        _check("confidence", self.confidence, 1.0)
        if self.mode == "lossless" and self.eta:
            raise ConfigurationError(
                f"eta {self.eta:g} changes what is written, and lossless promises that nothing does",
                hint="leave eta out, or take the mode steered",
            )

    @property
    def steers(self) -> bool:
        """Whether tokens that nobody drafted are by p_hat too."""
        return self.mode == "steered"


def _check(name: str, value: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or math.isnan(value):
        raise ConfigurationError(f"{name} is {value!r}", hint=f"a number from 0 to {most:g}")


@dataclass(frozen=True, slots=True)
class DraftedContext(Context):
    """A context whose answer is drafted by a reader of `draft` alone. Engines that can't draft read it as a `Context`;
    so does every engine where `draft` is empty."""

    draft: tuple[Part, ...] = ()
    how: Speculation = Speculation()


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one answer: tokens that were proposed, and those of them that were accepted, in how many verifying steps; and
    in how many of those the model wrote something else than was proposed."""

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def rate(self) -> float | None:
        """Share that was accepted; None where nothing was proposed."""
        return self.accepted / self.drafted if self.drafted else None

    @property
    def judged(self) -> int:
        """Places where the model agreed with what was proposed, or did not: what was proposed after such a place counts
        in `drafted` alone."""
        return self.accepted + self.refused

    def plus(self, drafted: int, accepted: int, refused: int) -> Counts:
        """One step more."""
        return Counts(self.rounds + 1, self.drafted + drafted, self.accepted + accepted, self.refused + refused)

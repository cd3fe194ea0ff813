"""One answer while it is written: which token comes next, what text it makes certain, and when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from turnout.engines.choosing import Choosing
from turnout.engines.decode import Detokenizer, StopFilter
from turnout.errors import ConfigurationError
from turnout.types import FinishReason, GenerationParams

if TYPE_CHECKING:
    import torch


class Writing:
    """Begins empty; `reason` says why it is over, and is None until then.

    Args:
        decode: text of token ids.
        ends: tokens that end an answer.
        device: of the logits.
        choices: token ids of the only answers that there are; any text by default.

    Attributes:
        most: tokens that it may get.
    """

    def __init__(
        self,
        params: GenerationParams,
        decode: Callable[[Sequence[int]], str],
        ends: Collection[int],
        device: str,
        choices: Sequence[Sequence[int]] = (),
    ) -> None:
        self.params, self.ends = params, ends
        self._sample = sampler(params, device)
        self.most = params.max_tokens
        self._choosing = Choosing(choices, ends) if choices else None
        self._text, self._stops = Detokenizer(decode), StopFilter(params.stop)
        self.tokens = 0
        self.reason: FinishReason | None = None if params.max_tokens > 0 else "length"

    def next(self, logits: torch.Tensor) -> tuple[int, str]:
        """Picks a token by logits [vocabulary] and writes it; returns it with the text that is now certain."""
        token = self.pick(logits)
        return token, self.write(token)

    def pick(self, logits: torch.Tensor) -> int:
        """The next token, by logits [vocabulary]."""
        return self._sample(logits if self._choosing is None else _only(logits, self._choosing.allowed()))

    def write(self, token: int) -> str:
        """Adds a token, and what of a choice is certain after it; returns the text that is now certain."""
        shown = self._add(token)
        if self._choosing is not None:
            for certain in self._choosing.take(token):
                if self.reason is None:
                    shown += self._add(certain)
            if not self._choosing.allowed():
                self.reason = self.reason or "stop"
        return shown

    def _add(self, token: int) -> str:
        self.tokens += 1
        if token in self.ends:
            self.reason = "stop"
            return ""
        shown = self._stops.push(self._text.push(token))
        if self._stops.stopped:
            self.reason = "stop"
        elif self.tokens >= self.most:
            self.reason = "length"
        return shown

    def rest(self) -> str:
        """What was held back until it was over."""
        return "" if self._stops.stopped else self._stops.push(self._text.finish()) + self._stops.finish()


def _only(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """The logits of some tokens; all others can't be picked."""
    kept = logits.new_full(logits.shape, float("-inf"))
    kept[list(tokens)] = logits[list(tokens)]
    return kept


def sampler(params: GenerationParams, device: str) -> Callable[[torch.Tensor], int]:
    """Picks the next token from logits [vocabulary]: the best one at temperature 0, else a random one."""
    import torch

    if math.isnan(params.temperature):
        raise ConfigurationError("the temperature is no number", hint="0 for the likeliest words, or more")
    if params.temperature <= 0:
        return lambda logits: int(logits.argmax())
    random = generator(params, device)

    def sample(logits: torch.Tensor) -> int:
        weights = torch.softmax(logits.float() / params.temperature, dim=-1)
        return int(torch.multinomial(weights, 1, generator=random))

    return sample


def generator(params: GenerationParams, device: str) -> torch.Generator:
    """The random numbers of an answer: the same for the same seed."""
    import torch

    random = torch.Generator(device=device)
    if params.seed is None:
        random.seed()
        return random
    try:
        random.manual_seed(params.seed)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"the seed is {params.seed!r}: {error}", hint="a whole number of 64 bits") from error
    return random

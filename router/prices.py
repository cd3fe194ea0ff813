"""What the tokens of a model cost, and with them an answer.

Prices come from a file that the user gives (`turnout.router.price_file`). Without one the cost of an answer is its
seconds on this machine, and not known where the model runs elsewhere. What is not known is a risk and never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Pricing:
    """What one model's tokens cost.

    Attributes:
        model: its name; "" where nothing was said of prices at all.
        file: the price file; "" without one.
        currency: of the prices; "" without a price file.
        input, cached_input, output: price of a million tokens; None where the file does not have the model.
    """

    model: str = ""
    file: str = ""
    currency: str = ""
    input: float | None = None
    cached_input: float | None = None
    output: float | None = None

    def cost(self, prompt_tokens: int, cached_tokens: int, new_tokens: float, seconds: float | None) -> float | None:
        """The cost of an answer, in the currency; None where it is not known.

        Args:
            cached_tokens: those of the prompt that are not read again.
            seconds: what it takes on this machine, None elsewhere: the cost where there is no price file.
        """
        if not self.currency:
            return seconds
        if self.input is None or self.cached_input is None or self.output is None:
            return None
        read = (prompt_tokens - cached_tokens) * self.input + cached_tokens * self.cached_input
        return (read + new_tokens * self.output) / MILLION

    def record(self) -> dict[str, Any]:
        """As JSON types; where the file lies is the user's own affair."""
        return {name: value for name, value in asdict(self).items() if name != "file"}

    @property
    def missing(self) -> str:
        """What is not known, where a cost is not."""
        where = f"in {PurePath(self.file).name}" if self.file else "is known"
        return f"no price of {self.model!r} {where}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.file:
            return f'add [models."{self.model}"] with input and output to {self.file}, or leave max_cost out'
        return "name a file with its price: --prices FILE or TURNOUT_PRICES, or leave max_cost out"


UNPRICED = Pricing()


@dataclass(frozen=True, slots=True)
class Prices:
    """A price file that was read: model name -> its prices."""

    models: Mapping[str, Pricing]
    file: str
    currency: str


def pricing_of(model: str, prices: Prices | None) -> Pricing:
    """The prices of one model; unknown ones where the file does not have it."""
    if prices is None:
        return Pricing(model)
    return prices.models.get(model) or Pricing(model, prices.file, prices.currency)

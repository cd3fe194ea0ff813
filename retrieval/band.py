"""A band of a ranking: from how similar down to how little similar passages are read (LDAR, arXiv 2509.21865)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Band:
    """Passages that follow each other in a ranking by similarity.

    The paper has a lower and an upper quantile; here it is the upper one and what lies below it, so that no two numbers
    ever name an empty band.

    Attributes:
        high: quantile of the most similar one, 0 to 1; 1 is the most similar of all.
        width: share of all passages, 0 to 1.
    """

    high: float
    width: float

    def places(self, passages: int) -> range:
        """Places in the ranking of so many, 0 the most similar: at least one, where there are any."""
        if not passages:
            return range(0)
        top = min(max(math.ceil(self.high * passages), 1), passages)
        count = min(max(math.ceil(self.width * passages), 1), top)
        return range(passages - top, passages - top + count)

    @classmethod
    def of(cls, first: int, count: int, passages: int) -> Band:
        """The band of `count` places from `first` on: the middle of the numbers that stand for it."""
        return cls((passages - first - 0.5) / passages, (count - 0.5) / passages)


class Policy(Protocol):
    """Picks a band. `most_tokens` of passages is what it was made for; more of a band are not read. `reader` names the
    model that it was made for, with its adapter; "" for any."""

    most_tokens: int
    reader: str

    def open(self) -> None:
        """Loads what picking needs; nothing the second time."""

    def band(self, similarities: NDArray[np.float32]) -> Band:
        """
        Args:
            similarities: cosine of every passage with the question, [passages], at least one, in any order.
        """

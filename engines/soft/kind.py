"""What soft tokens are made with, and a prompt that has them in place of documents. Nothing here needs a library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import ConfigurationError
from turnout.types import Context

PIECE_TOKENS = 20
"""Most tokens of a document that are read together when they are made, as published (CompLLM, arXiv 2509.19228)."""

MEAN, COMPLLM = "mean", "compllm"
RATES = (1, 2, 4)
"""Tokens that one stands for. At 1 the mean of embeddings is the document as it is: the truth to compare with."""

ITEM_BYTES = {"bfloat16": 2, "float32": 4}
_MEAN = re.compile(rf"{MEAN}:(\d+)")


@dataclass(frozen=True, slots=True)
class SoftKind:
    """One way to make soft tokens.

    Attributes:
        name: MEAN or COMPLLM.
        rate: tokens that one stands for, at most.
        dimension, dtype: of the embeddings.
        fingerprint: of all that values depend on; part of every cache key.
        piece_tokens: most tokens of a piece, which is read without what stands around it.
    """

    name: str
    rate: int
    dimension: int
    dtype: str
    fingerprint: str
    piece_tokens: int = PIECE_TOKENS

    def count(self, tokens: int) -> int:
        """Soft tokens of a piece of so many tokens."""
        return -(-tokens // self.rate)

    @property
    def bytes_each(self) -> int:
        """Of one soft token."""
        return self.dimension * ITEM_BYTES[self.dtype]

    def reads(self, tokens: int) -> int:
        """Positions that go through the model to make the soft tokens of so many tokens, about: each token, and the
        end markers; none where embeddings are only looked up."""
        return tokens + -(-tokens // self.rate) if self.name == COMPLLM else 0


@dataclass(frozen=True, slots=True)
class SoftContext(Context):
    """A context whose documents are read as soft tokens. `parts` are what they stand for, to cite from.

    Attributes:
        soft: of each part, the values of its segments in order, each [soft tokens, dimension] of `kind.dtype`.
    """

    soft: tuple[tuple[bytes, ...], ...] = ()
    kind: SoftKind | None = None

    @property
    def soft_tokens(self) -> int:
        """How many embeddings stand in the prompt."""
        return (
            sum(map(len, (value for part in self.soft for value in part))) // self.kind.bytes_each if self.kind else 0
        )


def mean_rate(setting: str) -> int | None:
    """The rate of "mean:RATE"; None of the folder of trained weights.

    Raises:
        ConfigurationError: it is neither.
    """
    found = _MEAN.fullmatch(setting)
    if found and int(found[1]) in RATES:
        return int(found[1])
    if found or not setting or not Path(setting).expanduser().is_dir():
        raise ConfigurationError(
            f"soft tokens can't be made with {setting!r}",
            hint=f"give {MEAN}:{RATES[1]}, {MEAN}:{RATES[2]}, or a folder that `turnout train soft` wrote",
        )
    return None

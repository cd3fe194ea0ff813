"""What the keys and values of segments are, and a context that is answered over them. Nothing here needs a library."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.types import Context

TEMPERATURE, SCALE = 0.9, 0.9
"""As shipped with APE (arXiv 2502.05431); the paper tunes them by model and task on a few questions."""


@dataclass(frozen=True, slots=True)
class ParallelKind:
    """What keys and values were made with.

    Attributes:
        fingerprint: of all that they depend on but the segment; part of every cache key.
        token_bytes: of one token in all layers.
    """

    fingerprint: str
    token_bytes: int


@dataclass(frozen=True, slots=True)
class ParallelContext(Context):
    """A context whose documents were read before. `parts` are what was read, to cite from.

    Attributes:
        segments: (hash, keys and values) of each, in any order.
        temperature, scale: how much what comes after them looks at them; at 1 and 1 as at anything.
    """

    segments: tuple[tuple[str, bytes], ...] = ()
    kind: ParallelKind | None = None
    temperature: float = TEMPERATURE
    scale: float = SCALE

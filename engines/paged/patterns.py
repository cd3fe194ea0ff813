"""What an attention pattern is made of: methods differ in a few choices, and there is one object for each: what is
chosen and how much of it (blocks, lines, a span), what scores it, and who shares the choice. `Pages` says it of new
tokens.

A paper is a combination of them, see docs/attention.md. Positions are the original ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from turnout.errors import ConfigurationError

MOST_PROBES = 128
LARGEST_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Antidiagonal:
    """Scores blocks by sums along antidiagonals of `stride` tokens (XAttention, arXiv 2503.16428)."""

    stride: int = 16

    def __post_init__(self) -> None:
        _power_of_two("stride", self.stride, 1, LARGEST_BLOCK)


@dataclass(frozen=True, slots=True)
class Pooled:
    """Scores blocks by the means of their queries and keys (FlexPrefill's query-aware branch, arXiv 2502.20766)."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Scores lines by the attention of some rows of the chunk: its last ones (MInference, arXiv 2407.02490) and some at
    even distances (SampleAttention, arXiv 2406.15486), which do not depend on what is asked at its end."""

    last: int = 64
    strided: int = 64

    def __post_init__(self) -> None:
        if min(self.last, self.strided) < 0 or not 1 <= self.last + self.strided <= MOST_PROBES:
            raise ConfigurationError(
                f"{self.last} last and {self.strided} strided rows can't be looked at",
                hint=f"1 to {MOST_PROBES} together",
            )


@dataclass(frozen=True, slots=True)
class Mass:
    """The fewest blocks that hold this share of a row's score; 1 takes all."""

    share: float = 0.9

    def __post_init__(self) -> None:
        _share(self.share)


@dataclass(frozen=True, slots=True)
class Top:
    """A fixed number of blocks, the highest ones."""

    blocks: int

    def __post_init__(self) -> None:
        at_least("blocks", self.blocks, 1)


@dataclass(frozen=True, slots=True)
class Lines:
    """The strongest columns and diagonals, of which the first and the newest ones are always taken.

    Attributes:
        vertical, slash: how many columns and diagonals; with a share at most so many.
        share: of what the observed rows look at: each head takes the fewest columns that hold it, and the fewest
            diagonals (SampleAttention's columns, FlexPrefill's lines); None for a fixed number.
    """

    vertical: int = 1000
    slash: int = 6096
    sinks: int = 30
    newest: int = 100
    share: float | None = None

    def __post_init__(self) -> None:
        at_least("vertical", self.vertical, 0)
        at_least("slash", self.slash, 1)
        at_least("sinks", self.sinks, 0)
        at_least("newest", self.newest, 1)  # without the diagonal a row could see nothing
        if self.share is not None:
            _share(self.share)


@dataclass(frozen=True, slots=True)
class Span:
    """The first tokens and a window up to the token itself (StreamingLLM, arXiv 2309.17453)."""

    sink: int = 64
    local: int = 1024

    def __post_init__(self) -> None:
        at_least("sink", self.sink, 0)
        at_least("local", self.local, 1)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages that a new token looks at: those whose keys could score highest, by the least and highest numbers of
    every 16 of them (Quest, arXiv 2406.10774), the query heads of a key head together, for some steps (LServe, arXiv
    2502.14866).

    Attributes:
        budget: pages of 64 tokens, all in all; a sequence that has no more of them is read whole.
        every: steps that a choice holds for, as long as no page begins.
        start: tokens up to which everything is looked at.
        first, last: pages at the sequence's beginning and end that are always taken. The last tokens of a step of
            several may begin in the page before the last one.
        dense_layers: the first layers, which look at everything.
    """

    budget: int = 64
    every: int = 4
    start: int = 65536
    first: int = 1
    last: int = 2
    dense_layers: int = 2

    def __post_init__(self) -> None:
        at_least("every", self.every, 1)
        at_least("last", self.last, 2)
        for name in ("start", "first", "dense_layers"):
            at_least(name, getattr(self, name), 0)
        at_least("budget", self.budget, self.first + self.last + 1)


Scorer = Antidiagonal | Pooled | Observed | None
Budget = Mass | Top | Lines | Span
Share = Literal["head", "group"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What some heads look at. The budget says what is chosen: blocks (Mass, Top), Lines, or a Span.

    Attributes:
        scorer: None for a span, which needs none.
        share: of blocks: each query head its own list, or one for the query heads of a key head.
        block: tokens of a block's edge.

    Raises:
        ConfigurationError: the parts do not fit together.
    """

    budget: Budget
    scorer: Scorer = None
    share: Share = "head"
    block: int = 128

    SCORERS: ClassVar[Mapping[type, tuple[type, ...]]] = {
        Mass: (Antidiagonal, Pooled),
        Top: (Antidiagonal, Pooled),
        Lines: (Observed,),
        Span: (type(None),),
    }

    def __post_init__(self) -> None:
        fitting = self.SCORERS.get(type(self.budget))
        if fitting is None or type(self.scorer) not in fitting:
            raise ConfigurationError(
                f"{self.budget} can't be chosen by {self.scorer}",
                hint="blocks (Mass, Top) by Antidiagonal or Pooled, Lines by Observed, a Span by None",
            )
        if self.share not in ("head", "group"):
            raise ConfigurationError(f"{self.share!r} shares nothing", hint="head or group")
        _power_of_two("block", self.block, 16, LARGEST_BLOCK)
        if isinstance(self.scorer, Antidiagonal) and self.scorer.stride > self.block:
            raise ConfigurationError(
                f"a stride of {self.scorer.stride} does not go into blocks of {self.block}", hint="take a smaller one"
            )

    @property
    def chunks_of(self) -> int:
        """What a chunk must be a multiple of."""
        return self.block if isinstance(self.budget, Mass | Top) else 1


_PARTS: dict[str, type] = {part.__name__: part for part in (Antidiagonal, Pooled, Observed, Mass, Top, Lines, Span)}


def told(pattern: Pattern) -> dict[str, Any]:
    parts = {"budget": pattern.budget, "scorer": pattern.scorer}
    told = {role: None if part is None else {"kind": type(part).__name__, **_set(part)} for role, part in parts.items()}
    return {**told, "share": pattern.share, "block": pattern.block}


def _set(part: Any) -> dict[str, Any]:
    """Settings that are: one that a version adds changes no fingerprint where it is not used."""
    return {name: value for name, value in asdict(part).items() if value is not None}


def pattern_from(fields: Mapping[str, Any]) -> Pattern:
    parts: dict[str, Any] = {}
    for role in ("budget", "scorer"):
        settings = fields[role]
        if settings is not None:
            values = dict(settings)
            settings = _PARTS[values.pop("kind")](**values)
        parts[role] = settings
    return Pattern(parts["budget"], parts["scorer"], fields["share"], fields["block"])


def at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} is {value!r}", hint=f"give a whole number of {least} or more")


def _share(share: float) -> None:
    if not 0 < share <= 1:
        raise ConfigurationError(f"a share of {share} of the score can't be", hint="above 0, up to 1")


def _power_of_two(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or not least <= value <= most or value & (value - 1):
        raise ConfigurationError(f"{name} is {value!r}", hint=f"give a power of two, {least} to {most}")

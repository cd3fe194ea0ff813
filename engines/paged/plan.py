"""What one step reads and writes: all that attention is told of pages and sequences.

A step feeds new tokens of one or more sequences through the model at once, as one row of tokens without padding. Its
plan says where their keys and values go, and over which runs of pages each sequence looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from turnout.engines.paged.pages import PAGE, PagePool, pages_for

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.attention import Layer
    from turnout.engines.paged.chosen import ChosenPages
    from turnout.engines.paged.policy import AttentionPolicy
    from turnout.engines.paged.tree import Tree

Watch: TypeAlias = "Callable[[Layer], None]"

SHARED_TOKENS = 256
"""Length from which a run that several sequences have is read once for all of them."""

LONG_RUN = 1024
"""Shorter runs of several sequences, or several of one, are copied together: looking at each costs more than that."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that lie one after the other in the pool, from slot `start` on."""

    start: int
    tokens: int

    @property
    def slots(self) -> slice:
        return slice(self.start, self.start + self.tokens)


def cut(runs: Sequence[Run], begin: int, end: int | None = None) -> Iterator[Run]:
    """Of the runs of a sequence those of its tokens [begin, end); to the last by default."""
    at = 0
    for run in runs:
        first, last = max(begin - at, 0), run.tokens if end is None else min(end - at, run.tokens)
        if first < last:
            yield Run(run.start + first, last - first)
        at += run.tokens


def runs_of(pages: Sequence[int], length: int) -> tuple[Run, ...]:
    """The first `length` tokens of a sequence's pages as runs, as few as there can be."""
    runs: list[Run] = []
    for index in range(-(-length // PAGE)):
        tokens = min(PAGE, length - index * PAGE)
        start = pages[index] * PAGE
        if runs and runs[-1].start + runs[-1].tokens == start:
            runs[-1] = Run(runs[-1].start, runs[-1].tokens + tokens)
        else:
            runs.append(Run(start, tokens))
    return tuple(runs)


@dataclass(frozen=True, slots=True)
class Parallel:
    """Tokens of a sequence that were read in parts, none of which saw another, all at the same positions; what comes
    after them looks at them together (APE, arXiv 2502.05431).

    Attributes:
        begin, end: those tokens, by their place in the sequence.
        positions: that they take: as many as the longest part has tokens.
        temperature: their scores are divided by it; below 1 they are sharper.
        scale: the logarithm of their softmax sum is multiplied by it, and by the temperature.
    """

    begin: int
    end: int
    positions: int
    temperature: float = 1.0
    scale: float = 1.0

    @property
    def saved(self) -> int:
        """Positions fewer than tokens."""
        return self.end - self.begin - self.positions

    @property
    def is_plain(self) -> bool:
        """They count as any others: one softmax is over all."""
        return self.temperature == self.scale == 1.0 or self.begin == self.end


@dataclass(frozen=True, slots=True)
class Piece:
    """One sequence's part of a step: rows [begin, end) of the step's tokens.

    Attributes:
        past: tokens of the sequence before them.
        runs: what every row sees whole: the past; of a single row, the row itself too.
        policy: what several rows look at, if not at all that is before them.
        whole: past and rows, where there is a policy.
        among: what rows that are a tree see of one another; None where each sees those before it.
        parallel: what of the past has a softmax of its own.
        chosen: of which pages the rows see some; None where they see all.
        table: int32 [1, pages] of past and rows, where pages are chosen.
    """

    begin: int
    end: int
    past: int
    runs: tuple[Run, ...]
    policy: AttentionPolicy | None = None
    whole: tuple[Run, ...] = ()
    among: Among | None = None
    parallel: Parallel | None = None
    chosen: ChosenPages | None = None
    table: torch.Tensor | None = None

    @property
    def rows(self) -> slice:
        return slice(self.begin, self.end)

    @property
    def is_single(self) -> bool:
        return self.end - self.begin == 1


@dataclass(frozen=True, slots=True)
class Among:
    """What the rows of a tree see of one another.

    Attributes:
        seen: bool [rows, rows].
        mask: [1, 1, rows, rows], of the keys' type: 0 for what a row (first) sees, -inf for what not.
        depths: int64 [rows], tokens of the tree before each.
    """

    seen: torch.Tensor
    mask: torch.Tensor
    depths: torch.Tensor


def _among(tree: Tree, pool: PagePool, device: str) -> Among:
    import torch

    seen = tree.seen()
    mask = torch.zeros(1, 1, *seen.shape, dtype=pool.keys[0].dtype).masked_fill_(~seen, -torch.inf)
    return Among(seen.to(device), mask.to(device), torch.tensor(tree.depths, device=device))


@dataclass(slots=True)
class StepPlan:
    """One forward pass.

    Attributes:
        slots: [tokens] where the new keys and values go.
        together: how single rows look at what they see; None for one by one.
        observed: layer -> attention weights of every piece's rows, [query heads, rows, keys], float32; layers that are
            wanted stand here with an empty list before the step.
        watch: called with each layer's attention before it is computed.
    """

    pool: PagePool
    pieces: tuple[Piece, ...]
    slots: torch.Tensor | slice
    together: Together | None = None
    observed: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    watch: Watch | None = None

    @property
    def is_watched(self) -> bool:
        return bool(self.observed) or self.watch is not None


@dataclass(frozen=True, slots=True)
class Together:
    """How the single rows of several sequences look at what they see: runs that some have in common once, other long
    ones each, and all the rest in one padded copy.

    Attributes:
        shared: (run, places of the pieces that begin with it).
        alone: (run, place of its piece).
        places: of the pieces that have more than that.
        rows: [places * heads * longest] of the pool as rows of one head each: what those see, key head by key head.
        mask: [places, 1, 1, longest], of the keys' type: 0 for what is there, -inf for padding.
    """

    shared: tuple[tuple[Run, list[int]], ...]
    alone: tuple[tuple[Run, int], ...]
    places: list[int]
    rows: torch.Tensor
    mask: torch.Tensor


def _together(pieces: Sequence[Piece], pool: PagePool, device: str) -> Together | None:
    """None where a piece has more than one row, or tokens read in parallel, or chosen pages, or is the only one."""
    import torch

    if len(pieces) < 2 or not all(
        piece.is_single and piece.parallel is None and piece.chosen is None for piece in pieces
    ):
        return None
    users: defaultdict[Run, list[int]] = defaultdict(list)
    for place, piece in enumerate(pieces):
        if piece.runs[0].tokens >= SHARED_TOKENS:
            users[piece.runs[0]].append(place)
    shared = tuple((run, places) for run, places in users.items() if len(places) > 1)
    begun = {place for _, places in shared for place in places}
    alone: list[tuple[Run, int]] = []
    rest: dict[int, list[int]] = {}
    for place, piece in enumerate(pieces):
        for run in piece.runs[place in begun :]:
            if run.tokens >= LONG_RUN:
                alone.append((run, place))
            else:
                rest.setdefault(place, []).extend(range(run.start, run.start + run.tokens))
    longest = max(map(len, rest.values()), default=0)
    padded = [own + own[:1] * (longest - len(own)) for own in rest.values()]
    slots = torch.tensor(padded, dtype=torch.long).view(len(rest), longest)
    lengths = torch.tensor([len(own) for own in rest.values()])
    heads = pool.shape.heads
    rows = slots[:, None] * heads + torch.arange(heads)[:, None]
    mask = torch.zeros(len(rest), 1, 1, longest, dtype=pool.keys[0].dtype)
    mask.masked_fill_(torch.arange(longest) >= lengths[:, None, None, None], -torch.inf)
    return Together(shared, tuple(alone), list(rest), rows.flatten().to(device), mask.to(device))


def plan(
    pool: PagePool,
    feeds: Sequence[tuple[Sequence[int], int, int, AttentionPolicy | None]],
    device: str,
    trees: Mapping[int, Tree] = MappingProxyType({}),
    parallels: Mapping[int, Parallel] = MappingProxyType({}),
    chosen: Mapping[int, ChosenPages] = MappingProxyType({}),
) -> StepPlan:
    """The plan of a step.

    Args:
        feeds: (pages, past tokens, new tokens, policy) of each sequence; the pages hold past and new ones. A single new
            token looks at everything.
        trees: the new tokens of those feeds, by place, that are one.
        parallels: what of the past of those feeds, by place, was read in parallel.
        chosen: of which pages the new tokens of those feeds, by place, see some.
    """
    import torch

    pieces: list[Piece] = []
    slots: list[int] = []
    for place, (pages, past, new, policy) in enumerate(feeds):
        parallel = parallels.get(place)
        apart = None if parallel is None or parallel.is_plain else parallel
        begin = len(slots)
        slots += [pages[at // PAGE] * PAGE + at % PAGE for at in range(past, past + new)]
        seen = past + 1 if new == 1 else past
        among = _among(trees[place], pool, device) if place in trees and new > 1 else None
        some = chosen.get(place)
        if some is not None:
            table = torch.tensor([pages[: pages_for(past + new)]], dtype=torch.int32, device=device)
            runs = runs_of(pages, seen)
            pieces.append(Piece(begin, begin + new, past, runs, among=among, chosen=some, table=table))
        elif policy is None or new == 1:
            pieces.append(Piece(begin, begin + new, past, runs_of(pages, seen), among=among, parallel=apart))
        else:
            pieces.append(Piece(begin, begin + new, past, runs_of(pages, past), policy, runs_of(pages, past + new)))
    together = slots[-1] - slots[0] == len(slots) - 1 and all(b - a == 1 for a, b in pairwise(slots))
    where = slice(slots[0], slots[-1] + 1) if together else torch.tensor(slots, device=device)
    return StepPlan(pool, tuple(pieces), where, _together(pieces, pool, device))

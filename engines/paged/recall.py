"""How much of dense attention a policy keeps, and what it takes: measured on the queries and keys of a dense read.

The share of the dense softmax that lies on the keys that a row looks at is exp(l_sparse - l_dense), l the logarithms of
the softmax sums: no weights are needed. Density is the number of those keys over the number of all.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from turnout.engines.paged import sparse
from turnout.engines.paged.chosen import ChosenPages, table
from turnout.engines.paged.policy import AttentionPolicy

if TYPE_CHECKING:
    from turnout.engines.paged.attention import Layer
    from turnout.engines.paged.dense import Partial
    from turnout.engines.paged.plan import Piece
    from turnout.engines.paged.sequence import KvSequence
    from turnout.engines.paged.session import Session

STEPS = 32
"""New tokens whose pages are measured."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a policy looked at in one chunk of a prompt, or with some new tokens.

    Attributes:
        past, tokens: before the chunk or the new tokens, and of it or them.
        recall: [layers, query heads], means over the chunk's rows: the share of the dense softmax that is kept.
        density: likewise: keys looked at over all keys that may be.
        seconds, dense_s: of all layers' attention, by the policy and dense: the least of the repeats of each layer.
    """

    policy: AttentionPolicy
    past: int
    tokens: int
    recall: torch.Tensor
    density: torch.Tensor
    seconds: float
    dense_s: float


def measure(
    session: Session,
    ids: Sequence[int],
    policies: Sequence[AttentionPolicy],
    places: Sequence[int] | None = None,
    *,
    repeats: int = 2,
    progress: Callable[[int], None] = lambda tokens: None,
    decoding: Sequence[AttentionPolicy] = (),
    steps: int = STEPS,
) -> list[Looked]:
    """Reads a prompt densely, and beside it what policies would look at; nothing of it is kept.

    Layers that have a window of their own are read as they are, and a single row looks at everything: both count as
    dense, and no time is taken of them.

    Args:
        places: of the chunks that are measured, the tokens before them; all chunks by default.
        repeats: how often each is timed.
        progress: called with the tokens of each chunk.
        decoding: policies whose pages for new tokens are measured: on the last tokens of the prompt, `steps` of them,
            read once more one by one; the first of them takes the bounds of all pages, which counts.

    Returns:
        Chunk after chunk, in each the policies in their order; then those of `decoding`.

    Raises:
        ModelError, ConfigurationError: a policy is not for this model, see `AttentionPolicy.check`.
        ValueError: no token, a place where no chunk begins, repeats below 1, or as many steps as tokens.
    """
    if decoding and not 0 < steps < len(ids):
        raise ValueError(f"the last {steps} of {len(ids)} tokens can't be read one by one")
    if not ids or repeats < 1:
        raise ValueError(f"{len(ids)} tokens can't be measured {repeats} times")
    sequence = session.sequence()
    try:
        for policy in (*policies, *decoding):
            session.check(policy)
        starts = range(0, len(ids), sequence.chunk)
        wrong = [place for place in places or () if place not in starts]
        if wrong:
            raise ValueError(f"no chunk of {sequence.chunk} tokens begins after {wrong[0]} of {len(ids)}")
        found: list[Looked] = []
        for start in starts:
            chunk = ids[start : start + sequence.chunk]
            if places is None or start in places:
                watch = _Watch(policies, repeats)
                session.watch(sequence, chunk, watch)
                found += watch.looked(start, len(chunk))
            else:
                session.step([(sequence, [chunk], ())], is_prompt=True)
            progress(len(chunk))
        if decoding:
            found += _steps(session, sequence, ids, steps, decoding)
    finally:
        sequence.close(keep=False)
    return found


def _steps(
    session: Session, sequence: KvSequence, ids: Sequence[int], steps: int, policies: Sequence[AttentionPolicy]
) -> list[Looked]:
    past = len(ids) - steps
    sequence.truncate(past)
    watch = _Steps(policies)
    for token in ids[past:]:
        session.watch(sequence, [token], watch)
    return watch.looked(past, steps)


class _Steps:
    """Compares chosen pages with all of them, layer by layer of several steps of one token."""

    def __init__(self, policies: Sequence[AttentionPolicy]) -> None:
        self._policies = policies
        self._chosen = [None if policy.decode is None else ChosenPages(policy.decode) for policy in policies]
        self._kept: list[defaultdict[int, list[torch.Tensor]]] = [defaultdict(list) for _ in policies]
        self._seconds = [0.0] * (1 + len(policies))

    def __call__(self, layer: Layer) -> None:
        (piece,) = layer.plan.pieces
        pages = table(piece.runs, layer.device)
        if layer.is_windowed(piece):
            dense_s, sums = 0.0, torch.zeros(layer.query_heads, 1)
        else:
            dense_s, (_, sums) = _timed(lambda: layer.dense(piece), layer.device)
        self._seconds[0] += dense_s
        for place, chosen in enumerate(self._chosen):
            kept, density, seconds = torch.ones(layer.query_heads), torch.ones(layer.query_heads), dense_s
            if chosen is not None and chosen.is_for(piece.past, 1) and not layer.is_windowed(piece):
                seconds, (_, own) = _timed(partial(chosen.attended, layer, piece, pages), layer.device)
                kept = (own.double() - sums.double()).exp().clamp(max=1.0)[:, 0].float().cpu()
                density = chosen.density(layer, piece).cpu()
            self._seconds[place + 1] += seconds
            self._kept[place][layer.index].append(torch.stack([kept, density]))

    def looked(self, past: int, tokens: int) -> list[Looked]:
        dense_s, *seconds = self._seconds
        found = []
        for policy, kept, own_s in zip(self._policies, self._kept, seconds, strict=True):
            layers = torch.stack([torch.stack(kept[layer]).mean(0) for layer in sorted(kept)])
            found.append(Looked(policy, past, tokens, layers[:, 0], layers[:, 1], own_s, dense_s))
        return found


class _Watch:
    """Compares the policies with dense attention, layer by layer of one step."""

    def __init__(self, policies: Sequence[AttentionPolicy], repeats: int) -> None:
        self._policies, self._repeats = policies, repeats
        self._recall: list[list[torch.Tensor]] = [[] for _ in policies]
        self._density: list[list[torch.Tensor]] = [[] for _ in policies]
        self._seconds = [0.0] * (1 + len(policies))

    def __call__(self, layer: Layer) -> None:
        (piece,) = layer.plan.pieces
        heads = torch.ones(layer.query_heads)
        if layer.is_windowed(piece) or piece.is_single:
            for place in range(len(self._policies)):
                self._recall[place].append(heads)
                self._density[place].append(heads)
            return
        ways = [self._way(layer, piece, policy) for policy in (None, *self._policies)]
        least = [float("inf")] * len(ways)
        sums: list[Any] = [None] * len(ways)
        for _ in range(self._repeats):
            for place, way in enumerate(ways):
                seconds, (_, sums[place]) = _timed(way, layer.device)
                least[place] = min(least[place], seconds)
        self._seconds = [total + seconds for total, seconds in zip(self._seconds, least, strict=True)]
        everything = torch.arange(piece.past + 1, piece.past + 1 + piece.end - piece.begin).double()
        for place, policy in enumerate(self._policies):
            kept = (sums[place + 1].double() - sums[0].double()).exp().clamp(max=1.0)
            self._recall[place].append(kept.mean(1).float().cpu())
            band = policy.at(piece.past)
            seen = (
                heads if band is None else sparse.keys_seen(layer, piece, band).double().cpu().sum(1) / everything.sum()
            )
            self._density[place].append(seen.float())

    def looked(self, past: int, tokens: int) -> list[Looked]:
        dense_s, *seconds = self._seconds
        return [
            Looked(policy, past, tokens, torch.stack(recall), torch.stack(density), own_s, dense_s)
            for policy, recall, density, own_s in zip(self._policies, self._recall, self._density, seconds, strict=True)
        ]

    @staticmethod
    def _way(layer: Layer, piece: Piece, policy: AttentionPolicy | None) -> Callable[[], Partial]:
        band = None if policy is None else policy.at(piece.past)
        return (lambda: layer.dense(piece)) if band is None else (lambda: sparse.attended(layer, piece, band))


def _timed(work: Callable[[], Partial], device: torch.device) -> tuple[float, Partial]:
    if device.type != "cpu":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    found = work()
    if device.type != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin, found

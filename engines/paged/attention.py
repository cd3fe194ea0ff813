"""Attention over pages, registered in transformers under NAME; the step's plan comes as the keyword `plan`.

Each sequence's rows look at their runs of pages and at themselves; the partial results are merged by the logarithm of
their softmax sums, which is exact: o = sum of o_i exp(l_i - l), l = log sum of exp(l_i).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch

from turnout.engines.paged import sparse
from turnout.engines.paged.dense import Partial, accumulated, flash, masked, products, products_pay, split, split_pays
from turnout.engines.paged.plan import LONG_RUN, Among, Parallel, Piece, Run, StepPlan, Together, cut
from turnout.errors import EngineError

NAME = "turnout"

FEW_RUNS = 4
"""Of more runs than that, the short ones are copied together."""


def register() -> None:
    """Makes the attention known to transformers; safe to call again."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*args: Any, attention_mask: torch.Tensor | None = None, **_: Any) -> None:
    """Sequences are not padded, so there is nothing to mask: what a row sees is in the plan."""
    if attention_mask is not None and not bool(attention_mask.all()):
        raise EngineError("padding reached the paged attention", hint="this is a mistake in turnout: please report it")


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    plan: StepPlan | None = None,
    is_apart: bool = False,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer: [1, tokens, query heads, dim].

    Args:
        query, key, value: of the step's new tokens, [1, query heads, tokens, dim] and [1, heads, tokens, dim].
        is_apart: there are no pages and no plan: every row of a batch [batch, heads, tokens, dim] is read by itself.
    """
    if is_apart:
        apart = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return apart.transpose(1, 2), None
    if plan is None:
        raise EngineError("the paged attention was called without a plan", hint="use the model through its engine")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = Layer(plan, module.layer_idx, query[0], key[0], value[0], scale, sliding_window)
    if module.layer_idx in plan.observed:
        plan.observed[module.layer_idx] = [layer.weights(piece) for piece in plan.pieces]
    if plan.watch is not None:
        plan.watch(layer)
    return layer.output()[None], None


def attend(
    plan: StepPlan, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None
) -> torch.Tensor:
    """`lean.Attend` by a plan."""
    plan.pool.keys[layer][plan.slots] = key
    plan.pool.values[layer][plan.slots] = value
    scale = query.shape[-1] ** -0.5
    query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    return Layer(plan, layer, query, key, value, scale, window).output()


class Layer:
    """One layer's attention in one step."""

    def __init__(
        self,
        plan: StepPlan,
        index: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int | None,
    ) -> None:
        self.plan = plan
        self.index = index
        self._keys, self._values = plan.pool.keys[index], plan.pool.values[index]
        self._query, self._key, self._value = query, key, value
        self._scale, self._window = scale, window

    def output(self) -> torch.Tensor:
        """[tokens, query heads, dim]"""
        pieces = self.plan.pieces
        if len(pieces) == 1:
            return self._piece(pieces[0]).transpose(0, 1)
        if self.plan.together is not None and self._window is None:
            return self._together(self.plan.together)
        return torch.cat([self._piece(piece).transpose(0, 1) for piece in pieces])

    def _piece(self, piece: Piece) -> torch.Tensor:
        """[query heads, rows, dim]"""
        if piece.parallel is not None:
            return self._in_parallel(piece, piece.parallel)[0].to(self._query.dtype)
        if self._window is not None and self.is_windowed(piece):
            return self._windowed(piece, self._window)
        if piece.chosen is not None and piece.table is not None:
            return piece.chosen.attended(self, piece, piece.table)[0].to(self._query.dtype)
        band = None if piece.policy is None else piece.policy.at(piece.past)
        found = self.dense(piece) if band is None else sparse.attended(self, piece, band)
        return found[0].to(self._query.dtype)

    def is_windowed(self, piece: Piece) -> bool:
        """The layer's own window hides something of a piece; it is not read by a policy then."""
        return self._window is not None and piece.past + piece.end - piece.begin > self._window

    def dense(self, piece: Piece) -> Partial:
        """Of rows that look at all keys up to themselves; the output is in float32 where it is of several parts."""
        return accumulated(self._partials(piece))

    @property
    def key_heads(self) -> int:
        return self._key.shape[0]

    @property
    def query_heads(self) -> int:
        return self._query.shape[0]

    @property
    def device(self) -> torch.device:
        return self._query.device

    def inputs(self, piece: Piece) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """A piece's queries [rows, query heads, dim], and the keys and values of the whole pool, [slots, key heads,
        dim]; how scores are scaled."""
        return self._query[:, piece.rows].transpose(0, 1), self._keys, self._values, self._scale

    def narrowed(self, heads: slice, keys: slice) -> Layer:
        """The same of some query heads and the key heads that they share, evenly."""
        part = copy.copy(self)
        part._query = self._query[heads]
        part._key, part._value = self._key[keys], self._value[keys]
        part._keys, part._values = self._keys[:, keys], self._values[:, keys]
        return part

    def rows(self, piece: Piece) -> sparse.Rows:
        """A piece's queries and all keys, those of the step among them, which are in the pages by now; they are copied
        only where its pages do not follow one another."""
        key, value = (
            kept[0] if len(kept) == 1 else torch.cat(kept)
            for kept in ([pool[run.slots] for run in piece.whole] for pool in (self._keys, self._values))
        )
        return sparse.Rows(self._query[:, piece.rows].transpose(0, 1), key, value, piece.past, self._scale)

    def _partials(self, piece: Piece) -> Iterator[Partial]:
        """What every row sees whole, and the rows themselves."""
        yield from self._seen(piece, piece.runs)
        if not piece.is_single:
            query, key, value = (each[:, piece.rows] for each in (self._query, self._key, self._value))
            if piece.among is None:
                yield flash(query, key, value, self._scale, causal=True)
            else:
                yield self._over_tree(query, key, value, piece.among)

    def _seen(self, piece: Piece, runs: Sequence[Run]) -> Iterator[Partial]:
        """The long runs as they lie, the short ones in one copy if they are many."""
        query = self._query[:, piece.rows]
        short = [run for run in runs if run.tokens < LONG_RUN] if len(runs) > FEW_RUNS else []
        for run in runs:
            if run not in short:
                yield self._over(query, *self._kept(run))
        if short:
            keys, values = zip(*map(self._kept, short), strict=True)
            yield self._over(query, torch.cat(keys, 1), torch.cat(values, 1))

    def _in_parallel(self, piece: Piece, those: Parallel) -> Partial:
        """Of rows after tokens that were read in parallel: these have a softmax of their own, sharper by the
        temperature t, whose sum counts as exp(scale t l) of its logarithm l beside that over all else."""
        sharper = copy.copy(self)
        sharper._scale = self._scale / those.temperature
        output, sums = accumulated(sharper._seen(piece, tuple(cut(piece.runs, those.begin, those.end))))
        others = (*cut(piece.runs, 0, those.begin), *cut(piece.runs, those.end))
        weighed = those.scale * those.temperature * sums
        return accumulated(chain([(output, weighed)], self._partials(replace(piece, runs=others))))

    def _together(self, those: Together) -> torch.Tensor:
        """[rows, query heads, dim] of single rows."""
        heads, rows, dim = self._query.shape
        if len(those.places) == rows and not (those.shared or those.alone):
            return self._padded(those)[0].transpose(0, 1).to(self._query.dtype)
        output = self._query.new_zeros(heads, rows, dim, dtype=torch.float32)
        sums = torch.full((heads, rows), -torch.inf, device=output.device)

        def add(places: list[int], found: Partial) -> None:
            output[:, places], sums[:, places] = accumulated([(output[:, places], sums[:, places]), found])

        for run, places in those.shared:
            add(places, self._over(self._query[:, places], *self._kept(run)))
        for run, place in those.alone:
            add([place], self._over(self._query[:, [place]], *self._kept(run)))
        if those.places:
            add(those.places, self._padded(those))
        return output.transpose(0, 1).to(self._query.dtype)

    def _padded(self, those: Together) -> Partial:
        """The rows that have something of their own, each over its keys in a copy as long as the longest."""
        _, heads, dim = self._keys.shape
        count, _, _, longest = those.mask.shape
        keys, values = (
            pool.view(-1, dim).index_select(0, those.rows).view(count, heads, longest, dim)
            for pool in (self._keys, self._values)
        )
        query = self._query[:, those.places].transpose(0, 1).reshape(count, heads, -1, dim)
        output, sums = masked(query, keys, values, those.mask, self._scale)
        return output.reshape(count, -1, dim).transpose(0, 1), sums.reshape(count, -1).transpose(0, 1)

    def _kept(self, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a run, [heads, tokens, dim], without a copy."""
        return self._keys[run.slots].transpose(0, 1), self._values[run.slots].transpose(0, 1)

    def _over(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> Partial:
        """Rows that see all keys [heads, keys, dim]. The query heads of a key head are rows of one head: keys are read
        once."""
        folded = query.reshape(keys.shape[0], -1, query.shape[-1])
        if products_pay(folded, keys.shape[1]):
            output, sums = products(folded, keys, values, self._scale)
        elif split_pays(folded, keys.shape[1]):
            output, sums = split(folded, keys, values, self._scale)
        else:
            output, sums = flash(folded, keys, values, self._scale, causal=False)
        return output.reshape(query.shape), sums.reshape(query.shape[:2])

    def _over_tree(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, among: Among) -> Partial:
        """Rows that see some of one another, folded as in `_over`."""
        folded = query.reshape(keys.shape[0], -1, query.shape[-1])
        mask = among.mask.repeat(1, 1, query.shape[0] // keys.shape[0], 1)
        output, sums = masked(folded[None], keys[None], values[None], mask, self._scale)
        return output.reshape(query.shape), sums.reshape(query.shape[:2])

    def _windowed(self, piece: Piece, window: int) -> torch.Tensor:
        """Rows that see the last `window` tokens up to themselves."""
        first = max(piece.past + 1 - window, 0)
        keys, values = self._gathered(piece, first)
        query = self._query[:, piece.rows]
        # torch has no fast way with both a mask and shared key heads; a window's keys are few enough to repeat.
        repeats = query.shape[0] // keys.shape[0]
        found = torch.nn.functional.scaled_dot_product_attention(
            query[None],
            keys.repeat_interleave(repeats, 0)[None],
            values.repeat_interleave(repeats, 0)[None],
            attn_mask=self._visible(piece, first, keys.shape[1]),
            scale=self._scale,
        )
        return found[0]

    def weights(self, piece: Piece) -> torch.Tensor:
        """[query heads, rows, keys]: the softmax itself, for those who want to see it."""
        keys, _ = self._gathered(piece, 0)
        query = self._query[:, piece.rows].float()
        repeated = keys.float().repeat_interleave(query.shape[0] // keys.shape[0], 0)
        scores = query @ repeated.transpose(1, 2) * self._scale
        return torch.softmax(scores.masked_fill(~self._visible(piece, 0, keys.shape[1]), -torch.inf), -1)

    def _gathered(self, piece: Piece, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a piece's sequence from token `first` on, [heads, keys, dim]: past, then new."""
        kept = [self._kept(run) for run in cut(piece.runs, first)]
        if not piece.is_single:
            kept.append((self._key[:, piece.rows], self._value[:, piece.rows]))
        keys, values = zip(*kept, strict=True)
        return torch.cat(keys, 1), torch.cat(values, 1)

    def _visible(self, piece: Piece, first: int, keys: int) -> torch.Tensor:
        """[rows, keys] of keys from token `first` on: causal, within the window."""
        columns = torch.arange(first, first + keys, device=self._query.device)
        nearest = self._window or first + keys + 1
        if piece.among is not None:
            past, positions = columns[columns < piece.past], piece.past + piece.among.depths
            before = torch.ones(len(positions), len(past), dtype=torch.bool, device=columns.device)
            seen = torch.cat([before, piece.among.seen], 1)
            return seen & (torch.cat([past, positions])[None] > positions[:, None] - nearest)
        rows = torch.arange(piece.past, piece.past + piece.end - piece.begin, device=columns.device)[:, None]
        return (columns[None] <= rows) & (columns[None] > rows - nearest)

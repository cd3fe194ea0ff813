"""Attention of a chunk of a prompt by a policy: what is looked at is chosen, then only that is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from turnout.engines.paged.patterns import Antidiagonal, Lines, Mass, Observed, Pattern, Span, Top
from turnout.kernels.attn_prefill.api import attn_prefill
from turnout.kernels.block_scores.api import block_reduce, block_scores, pooled_scores
from turnout.kernels.select_blocks.api import select_blocks
from turnout.kernels.shared.index import BlockIndex
from turnout.kernels.streaming.api import streaming
from turnout.kernels.vs_prefill.api import vs_prefill
from turnout.kernels.vs_prefill.index import VsIndex, chosen_lines, lines_for, vs_index
from turnout.kernels.vs_probe.api import vs_probe

if TYPE_CHECKING:
    from turnout.engines.paged.attention import Layer
    from turnout.engines.paged.dense import Partial
    from turnout.engines.paged.plan import Piece
    from turnout.engines.paged.policy import Band


class Rows(NamedTuple):
    """A chunk's queries, and all keys up to them.

    Attributes:
        query: [tokens, query heads, dim].
        key, value: [past + tokens, key heads, dim].
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    past: int
    scale: float


class Choice(NamedTuple):
    """What the queries of some heads look at, which can be read with other queries too.

    Attributes:
        kernel: `attn_prefill`, `vs_prefill` or `streaming`.
        places: what it reads: an index or windows.
    """

    kernel: Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
    places: Any
    options: dict[str, int]

    def read(self, query: torch.Tensor, rows: Rows) -> Partial:
        """Args: query: as those of the rows. Returns output [query heads, tokens, dim] and sums [query heads, tokens],
        see `dense.Partial`."""
        output, sums = self.kernel(
            query, rows.key, rows.value, self.places, scale=rows.scale, q_start=rows.past, **self.options
        )
        assert sums is not None  # noqa: S101 - asked for by default
        return output.transpose(0, 1), sums


def attended(layer: Layer, piece: Piece, band: Band) -> Partial:
    """Output and softmax sums of all heads, each by its pattern."""
    outputs, sums = [], []
    for heads, keys, pattern in band.of(layer.index, layer.query_heads, layer.key_heads):
        own = layer.narrowed(heads, keys)
        if pattern is None:
            output, total = own.dense(piece)
        else:
            rows = own.rows(piece)
            output, total = choose(pattern, rows).read(rows.query, rows)
        outputs.append(output)
        sums.append(total)
    return torch.cat(outputs), torch.cat(sums)


def keys_seen(layer: Layer, piece: Piece, band: Band) -> torch.Tensor:
    """[query heads, rows]: how many keys each row looks at. Queries of zeros score all keys 0, so that the softmax sum
    counts them."""
    counts = []
    for heads, keys, pattern in band.of(layer.index, layer.query_heads, layer.key_heads):
        rows = layer.narrowed(heads, keys).rows(piece)
        if pattern is None:
            seen = torch.arange(rows.past + 1, rows.past + 1 + len(rows.query), device=rows.query.device)
            counts.append(seen.float().expand(rows.query.shape[1], -1))
        else:
            counts.append(choose(pattern, rows).read(torch.zeros_like(rows.query), rows)[1].exp())
    return torch.cat(counts)


def choose(pattern: Pattern, rows: Rows) -> Choice:
    """What a pattern picks of the keys, by these queries."""
    budget = pattern.budget
    if isinstance(budget, Span):
        return Choice(streaming, [budget.local] * rows.query.shape[1], {"sink": budget.sink})
    if isinstance(budget, Lines):
        assert isinstance(pattern.scorer, Observed)  # noqa: S101 - patterns are checked when they are made
        return Choice(vs_prefill, _lines(pattern.scorer, budget, rows), {})
    return Choice(attn_prefill, _blocks(pattern, budget, rows), {})


def _blocks(pattern: Pattern, budget: Mass | Top, rows: Rows) -> BlockIndex:
    query, key, block = rows.query, rows.key, pattern.block
    if isinstance(pattern.scorer, Antidiagonal):
        stride = pattern.scorer.stride
        part = block_scores(query, key, scale=rows.scale, stride=stride, block=block, q_start=rows.past)
        scores = block_reduce(part, block // stride)
    else:
        scores = pooled_scores(query, key, scale=rows.scale, block=block, q_start=rows.past)
    return select_blocks(
        scores,
        "mass" if isinstance(budget, Mass) else "top",
        tau=budget.share if isinstance(budget, Mass) else None,
        k=budget.blocks if isinstance(budget, Top) else None,
        share=pattern.share,
        kv_heads=key.shape[1],
        block_m=block,
        block_n=block,
        queries=len(query),
        q_start=rows.past,
    )


def _lines(scorer: Observed, budget: Lines, rows: Rows) -> VsIndex:
    tokens = len(rows.query)
    probes = _probes(scorer, tokens)
    places = torch.tensor(probes, device=rows.query.device)
    columns, diagonals = vs_probe(rows.query[places], (places + rows.past).int(), rows.key, scale=rows.scale)
    n_vert: int | list[int] = budget.vertical
    n_slash: int | list[int] = budget.slash
    if budget.share is not None:
        n_vert = lines_for(columns, budget.share, forced=budget.sinks, most=budget.vertical)
        n_slash = lines_for(diagonals, budget.share, forced=budget.newest, most=budget.slash)
    slashes, verticals = chosen_lines(
        columns, diagonals, n_vert=n_vert, n_slash=n_slash, sinks=budget.sinks, newest=budget.newest
    )
    return vs_index(slashes, verticals, reach=rows.past + tokens, device=rows.query.device)


def _probes(scorer: Observed, tokens: int) -> list[int]:
    """Rows of a chunk, ascending: the last ones, and others at even distances."""
    last = range(max(tokens - scorer.last, 0), tokens)
    strided = (tokens - 1 - at * tokens // max(scorer.strided, 1) for at in range(scorer.strided))
    return sorted({*last, *strided})

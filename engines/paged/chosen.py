"""Which pages new tokens look at: chosen by bounds of their scores, for some steps (Quest, arXiv 2406.10774; LServe,
arXiv 2502.14866).

Bounds are taken of whole pages that lie before a step's tokens, and the last pages are always read. So dropping drafted
tokens takes no bound back, and a page that several sequences share has the same bounds in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from turnout.engines.paged.pages import PAGE, pages_for
from turnout.engines.paged.patterns import Pages
from turnout.kernels.attn_decode.api import MOST_ROWS, attn_decode
from turnout.kernels.kv_write.naive import SUB_PAGE, rounded
from turnout.kernels.page_scores.api import page_scores, select_pages

if TYPE_CHECKING:
    from turnout.engines.paged.attention import Layer
    from turnout.engines.paged.dense import Partial
    from turnout.engines.paged.plan import Piece, Run

FEW = 16
"""New tokens up to which a step looks at chosen pages; more are read as text that was appended."""

PARTS = 16
"""Programs of a GPU that share a sequence's pages."""

BOUNDED_AT_ONCE = 256
"""Pages; their keys are copied to take their bounds."""


class Choice(NamedTuple):
    """What a layer reads.

    Attributes:
        ids: int32 [1, key heads, pages], ascending, counted from the sequence's start.
        pages: of the sequence when it was chosen.
        left: steps that it holds for yet.
    """

    ids: torch.Tensor
    pages: int
    left: int


class ChosenPages:
    """What one sequence's new tokens look at, layer by layer; bounds and choices stay from step to step."""

    def __init__(self, settings: Pages) -> None:
        self.settings = settings
        self._bounds: dict[int, torch.Tensor] = {}
        self._choices: dict[int, Choice] = {}

    def is_for(self, past: int, new: int) -> bool:
        """Whether a step of `new` tokens after `past` ones looks at less than everything."""
        total, settings = past + new, self.settings
        return new <= FEW and total > settings.start and pages_for(total) > settings.budget

    def fork(self) -> ChosenPages:
        """Another one for a sequence that has read the same."""
        other = ChosenPages(self.settings)
        other._bounds, other._choices = dict(self._bounds), dict(self._choices)
        return other

    def cut(self, length: int) -> None:
        """The sequence has forgotten all but its first `length` tokens."""
        whole = length // PAGE
        if any(len(bounds) > whole for bounds in self._bounds.values()):
            # A view would hold on to the memory of all.
            kept = {layer: bounds[:whole].clone() for layer, bounds in self._bounds.items()}
            self._bounds, self._choices = kept if whole else {}, {}

    def attended(self, layer: Layer, piece: Piece, table: torch.Tensor) -> Partial:
        """A step's rows over what is chosen for them; see `pages` and `read`."""
        ids = self.pages(layer, piece, table)
        return layer.dense(piece) if ids is None else self.read(layer, piece, table, ids)

    def pages(self, layer: Layer, piece: Piece, table: torch.Tensor) -> torch.Tensor | None:
        """int32 [1, key heads, pages] that a layer's rows read in this step; None for all of them.

        Args:
            table: see `table`.
        """
        rows = piece.end - piece.begin
        if layer.index < self.settings.dense_layers or rows * layer.query_heads // layer.key_heads > MOST_ROWS:
            return None
        count = pages_for(piece.past + rows)
        before = self._choices.get(layer.index)
        if before is not None and before.pages == count and before.left:
            self._choices[layer.index] = before._replace(left=before.left - 1)
            return before.ids
        ids = self._best(layer, piece, table)
        self._choices[layer.index] = Choice(ids, count, self.settings.every - 1)
        return ids

    def read(self, layer: Layer, piece: Piece, table: torch.Tensor, ids: torch.Tensor) -> Partial:
        """Output and softmax sums of a step's rows over the pages `ids`."""
        query, keys, values, scale = layer.inputs(piece)
        total = torch.tensor([piece.past + piece.end - piece.begin], dtype=torch.int32, device=query.device)
        tree = None if piece.among is None else bits(piece.among.seen)[None]
        output, sums = attn_decode(
            query[None], keys, values, table, total, scale=scale, page=PAGE, page_ids=ids, tree_mask=tree, parts=PARTS,
            validate=False,
        )  # fmt: skip
        return output[0].transpose(0, 1), sums[0].T

    def density(self, layer: Layer, piece: Piece) -> torch.Tensor:
        """[query heads]: keys that a layer's single row has just looked at, over all that it may."""
        choice, total = self._choices.get(layer.index), piece.past + 1
        if choice is None:
            return torch.ones(layer.query_heads)
        return (keys_in(choice.ids, total) / total).repeat_interleave(layer.query_heads // layer.key_heads)

    def _best(self, layer: Layer, piece: Piece, table: torch.Tensor) -> torch.Tensor:
        """The query heads that share a key head, and all rows, choose together: a page counts as its best one says."""
        query, keys, _, _ = layer.inputs(piece)
        settings, whole, total = self.settings, piece.past // PAGE, piece.past + piece.end - piece.begin
        bounds = self._bounded(layer.index, keys, table[0, :whole])
        folded = query.transpose(0, 1).reshape(1, -1, query.shape[2])
        places = torch.arange(whole, dtype=torch.int32, device=query.device)[None]
        bounded, length = torch.tensor([[whole * PAGE], [total]], dtype=torch.int32, device=query.device)
        scores = page_scores(folded, bounds, places, bounded, validate=False)
        # What is not whole yet is taken whatever its score: it lies in the last pages.
        scores = torch.nn.functional.pad(scores, (0, pages_for(total) - whole))
        return select_pages(scores, length, page=PAGE, budget=settings.budget, first=settings.first, last=settings.last)

    def _bounded(self, layer: int, keys: torch.Tensor, pages: torch.Tensor) -> torch.Tensor:
        """Bounds [pages, key heads, sub-pages, 2, dim] of a sequence's whole pages; those known already are kept."""
        known = self._bounds.get(layer)
        new = pages if known is None else pages[len(known) :]
        if len(new):
            parts = [bounds_of(keys, some) for some in torch.split(new, BOUNDED_AT_ONCE)]
            self._bounds[layer] = torch.cat(parts if known is None else [known, *parts])
        return self._bounds[layer]


def bounds_of(keys: torch.Tensor, pages: torch.Tensor) -> torch.Tensor:
    """Least and highest numbers of every 16 keys, bfloat16 [pages, key heads, 4, 2, dim], rounded outwards.

    Args:
        keys: of a layer of the pool, [slots, key heads, dim].
        pages: integers [n].
    """
    own = keys.view(-1, PAGE // SUB_PAGE, SUB_PAGE, *keys.shape[1:])[pages.long()]
    least, most = (
        rounded(found, up=up, kind=torch.bfloat16) for found, up in ((own.amin(2), False), (own.amax(2), True))
    )
    return torch.stack([least, most], 3).transpose(1, 2).contiguous()


def table(runs: Sequence[Run], device: torch.device | str) -> torch.Tensor:
    """int32 [1, pages]: the pages in which runs lie, which begin with one each."""
    places = [range(run.start // PAGE, run.start // PAGE + pages_for(run.tokens)) for run in runs]
    return torch.tensor([[page for part in places for page in part]], dtype=torch.int32, device=device)


def bits(seen: torch.Tensor) -> torch.Tensor:
    """int64 [rows] of bool [rows, rows]: bit c of row r says whether it sees c."""
    return (seen.long() << torch.arange(len(seen), device=seen.device)).sum(1)


def keys_in(ids: torch.Tensor, total: int) -> torch.Tensor:
    """int64 [key heads]: tokens in the pages `ids` [1, key heads, pages] of a sequence of `total` tokens."""
    held = (total - ids[0].long() * PAGE).clamp(max=PAGE)
    return held.masked_fill(ids[0] < 0, 0).sum(1)

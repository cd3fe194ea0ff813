"""Runs the model: one step feeds new tokens of some sequences, and gives logits where they are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.engines.device import memory_of
from turnout.engines.loading import cache_argument
from turnout.engines.paged import attention
from turnout.engines.paged.graphs import DecodeGraphs, can_capture
from turnout.engines.paged.kinds import Adapted
from turnout.engines.paged.lean import ROWS, LeanModel, fits
from turnout.engines.paged.pages import PagePool
from turnout.engines.paged.plan import Parallel, StepPlan, Watch, plan
from turnout.errors import ModelError

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.chosen import ChosenPages
    from turnout.engines.paged.policy import AttentionPolicy
    from turnout.engines.paged.switched import Switch
    from turnout.engines.paged.tree import Tree


@dataclass(frozen=True, slots=True)
class Feed:
    """New tokens of one sequence.

    Attributes:
        pages: of the sequence; those for the new tokens are among them.
        past: tokens that are in the pages already.
        fragments: ids, or embeddings [tokens, hidden].
        new: how many tokens they are.
        logits: which of the new tokens' logits are wanted, counted from the first new one.
        adapted: which adapter reads, where the model has one that can be switched.
        policy: what the new tokens look at; None for everything.
        tree: the new tokens, where they are one.
        parallel: what of the past was read in parts at the same positions, all of it before the new tokens.
        chosen: of which pages the new tokens see some; None where they see all.
    """

    pages: Sequence[int]
    past: int
    fragments: Sequence[Sequence[int] | torch.Tensor]
    new: int
    logits: Sequence[int]
    adapted: Adapted = True
    policy: AttentionPolicy | None = None
    tree: Tree | None = None
    parallel: Parallel | None = None
    chosen: ChosenPages | None = None

    @property
    def positions(self) -> list[int]:
        """Of the new tokens."""
        first = self.past - (self.parallel.saved if self.parallel is not None else 0)
        return [first + at for at in (range(self.new) if self.tree is None else self.tree.depths)]


class Runner:
    """A loaded model with its page pool.

    Args:
        int8: steps of a few tokens use weights in int8, see `LeanModel`.
        switches: of the network's adapters that lie beside its weights.

    Raises:
        ModelError: the model's attention can't be replaced through transformers' interface.
    """

    def __init__(
        self, network: Any, pool: PagePool, device: str, *, int8: bool = False, switches: Sequence[Switch] = ()
    ) -> None:
        from turnout.engines.paged.cache import PagedCache

        attention.register()
        try:
            network.set_attn_implementation(attention.NAME)
        except ValueError as error:
            raise ModelError(
                f"{type(network).__name__} does not let its attention be replaced: {error}",
                hint="use a llama, qwen2, qwen3, mistral or phi3 model",
            ) from error
        self._network = network
        self.int8 = int8 and fits(network.config.to_dict())
        self._lean = LeanModel(network, int8) if fits(network.config.to_dict()) else None
        self._graphs = (
            DecodeGraphs(self._lean, pool, device)
            if self._lean is not None and can_capture(device, pool.shape.dim)
            else None
        )
        self._switches = switches
        self._device = device
        self._cache = PagedCache(pool.shape.layers)
        self._argument = cache_argument(network.base_model)
        self.pool = pool

    def step(
        self,
        feeds: Sequence[Feed],
        observe: Iterable[int] = (),
        columns: Sequence[int] | None = None,
        *,
        is_prompt: bool = False,
        watch: Watch | None = None,
    ) -> tuple[torch.Tensor, StepPlan]:
        """One forward pass over all feeds.

        Args:
            observe: layers whose attention weights are wanted, see `StepPlan.observed`.
            watch: called with each layer's attention before it is computed.
            columns: the tokens of the vocabulary whose logits are wanted, and computed; all by default.
            is_prompt: never with weights in int8, so that what is kept of a prompt does not depend on its chunks.

        Returns:
            Logits [wanted, columns], feed after feed, and the plan.

        Raises:
            MemoryLimitError: the device has no memory left.
        """
        import torch

        step = plan(
            self.pool,
            [(feed.pages, feed.past, feed.new, feed.policy) for feed in feeds],
            self._device,
            {place: feed.tree for place, feed in enumerate(feeds) if feed.tree is not None},
            {place: feed.parallel for place, feed in enumerate(feeds) if feed.parallel is not None},
            {place: feed.chosen for place, feed in enumerate(feeds) if feed.chosen is not None},
        )
        step.observed, step.watch = {layer: [] for layer in observe}, watch
        keep = [piece.begin + at for piece, feed in zip(step.pieces, feeds, strict=True) for at in feed.logits]
        positions = [at for feed in feeds for at in feed.positions]
        self._cache.follow(step)
        try:
            with memory_of(self._device, f"for a step of {len(positions):,} tokens"), torch.inference_mode():
                if self._switches:
                    rows = [feed.adapted for feed in feeds for _ in range(feed.new)]
                    for switch in self._switches:
                        switch.set(rows, self._network.get_input_embeddings().weight)
                lean = None if is_prompt and self.int8 else self._lean
                hidden = self._hidden(feeds, positions, step, lean)[keep]
                logits = self._logits(hidden, columns, lean)
        finally:
            self._cache.follow(None)
        return logits, step

    def _hidden(
        self, feeds: Sequence[Feed], positions: list[int], step: StepPlan, lean: LeanModel | None
    ) -> torch.Tensor:
        """[tokens, hidden], after the last norm."""
        import torch

        fragments = [fragment for feed in feeds for fragment in feed.fragments]
        soft = any(isinstance(fragment, torch.Tensor) for fragment in fragments)
        if lean is not None and len(positions) <= ROWS and not soft and not step.is_watched:
            ids = [int(token) for fragment in fragments for token in fragment]
            stand = tuple(switch.rows for switch in self._switches if isinstance(switch.rows, bool))
            # A graph knows no positions but those of the slots, and one softmax over all pages.
            fits_graph = all(feed.new == 1 and feed.parallel is None and feed.chosen is None for feed in feeds)
            if self._graphs is not None and len(stand) == len(self._switches) and fits_graph:
                return self._graphs.step(ids, positions, [feed.pages for feed in feeds], stand)
            tokens, at = torch.tensor([ids, positions], device=self._device)
            return lean.step(tokens, at, partial(attention.attend, step))
        hidden: torch.Tensor = self._network.base_model(
            **self._inputs(feeds),
            position_ids=torch.tensor([positions], device=self._device),
            **{self._argument: self._cache},
            use_cache=True,
            plan=step,
        ).last_hidden_state[0]
        return hidden

    def _logits(self, hidden: torch.Tensor, columns: Sequence[int] | None, lean: LeanModel | None) -> torch.Tensor:
        """[rows, columns] of hidden [rows, hidden]."""
        import torch

        head = self._network.get_output_embeddings()
        if columns is not None:
            chosen = list(columns)
            bias = None if head.bias is None else head.bias[chosen]
            return torch.nn.functional.linear(hidden, head.weight[chosen], bias)
        logits: torch.Tensor = (lean.head if lean and len(hidden) <= ROWS else head)(hidden)
        return logits

    def _inputs(self, feeds: Sequence[Feed]) -> dict[str, torch.Tensor]:
        """Ids, or embeddings as soon as one fragment is made of them."""
        import torch

        given = [fragment for feed in feeds for fragment in feed.fragments]
        if not any(isinstance(fragment, torch.Tensor) for fragment in given):
            return {"input_ids": torch.tensor([[token for ids in given for token in ids]], device=self._device)}
        embed = self._network.get_input_embeddings()
        rows = [
            fragment.to(self._device, embed.weight.dtype)
            if isinstance(fragment, torch.Tensor)
            else embed(torch.tensor(fragment, device=self._device, dtype=torch.long))
            for fragment in given
        ]
        return {"inputs_embeds": torch.cat(rows)[None]}

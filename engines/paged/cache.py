"""The page pool as a cache of transformers: new keys and values are written where the step's plan says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.plan import StepPlan


class PagedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer of a `PagedCache`. What it gives back are the new tokens alone: attention reads the rest from pages."""

    is_sliding = False

    def __init__(self, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._index = index
        self.plan: StepPlan | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """key_states and value_states: [1, heads, tokens, dim] of the step's tokens."""
        plan = self.plan
        if plan is None:
            raise RuntimeError("a paged cache was used without a plan")
        plan.pool.keys[self._index][plan.slots] = key_states[0].transpose(0, 1)
        plan.pool.values[self._index][plan.slots] = value_states[0].transpose(0, 1)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class PagedCache(Cache):
    """The cache that a step of the model gets."""

    def __init__(self, layers: int) -> None:
        self._paged = [PagedLayer(index) for index in range(layers)]
        super().__init__(layers=list(self._paged))

    def follow(self, plan: StepPlan | None) -> None:
        """Writes as this plan says from now on."""
        for layer in self._paged:
            layer.plan = plan

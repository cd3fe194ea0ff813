"""A loaded model with its pages: makes sequences, and reads tokens of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from turnout.engines.memory import PREFILL_CHUNK
from turnout.engines.paged.kinds import Adapted, rooted
from turnout.engines.paged.pages import PAGE, KvShape, PagePool
from turnout.engines.paged.parallel import ParallelSequence
from turnout.engines.paged.plan import Watch
from turnout.engines.paged.policy import AttentionPolicy, grid_of, key_of
from turnout.engines.paged.residency import Residency
from turnout.engines.paged.runner import Runner
from turnout.engines.paged.sequence import Fragment, KvSequence, step, watched
from turnout.engines.paged.tiers import Tier
from turnout.engines.scheduler.owner import Owner, on_owner

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.switched import Switch


class Session:
    """The pages of one loaded model.

    Args:
        network: a model of transformers, of one of `kinds.MODEL_TYPES`.
        pool_bytes: most memory of keys and values.
        root: fingerprint of what keys and values are computed with.
        chunk: prompt tokens of a step.
        int8, switches: see `Runner`.
        owner: the thread in which all is done; the caller's by default.

    Attributes:
        chunk: see above.
        most: tokens that one sequence could have, if it were the only one.
    """

    def __init__(
        self,
        network: Any,
        shape: KvShape,
        pool_bytes: int,
        device: str,
        root: str,
        tiers: Sequence[Tier] = (),
        *,
        chunk: int = PREFILL_CHUNK,
        int8: bool = False,
        switches: Sequence[Switch] = (),
        owner: Owner | None = None,
    ) -> None:
        self.owner = owner
        # One more for the idle rows of graphs.
        pages = max(pool_bytes // shape.page_bytes(network.dtype.itemsize), 1) + (device != "cpu")
        pool = PagePool(shape, pages, network.dtype, device)
        self._runner = Runner(network, pool, device, int8=int8, switches=switches)
        self._residency = Residency(self._runner.pool, tiers)
        self._root = root
        self.chunk = chunk
        self.most = self._residency.available() * PAGE

    def sequence(
        self, namespace: str | None = None, *, adapted: Adapted = True, policy: AttentionPolicy | None = None
    ) -> KvSequence:
        """An empty sequence; it finds, and is found by, those of its namespace only, read with the same adapter or
        without one as it is, and by the same policy; None for dense.

        Raises:
            ModelError, ConfigurationError: see `AttentionPolicy.check`.
        """
        if policy is not None:
            self.check(policy)
        root = self._rooted(namespace, adapted, policy)
        return KvSequence(
            self._runner,
            self._residency,
            root,
            adapted=adapted,
            chunk=self.chunk,
            policy=policy,
            owner=self.owner,
        )

    def parallel(self, namespace: str | None = None, read: str = "") -> ParallelSequence:
        """An empty sequence for a segment, or for a prompt over segments; it reads densely, without the adapter.

        Args:
            read: `ParallelPrompt.root` of the prompt.
        """
        root = rooted(self._root, namespace, False, read)
        return ParallelSequence(self._runner, self._residency, root, adapted=False, chunk=self.chunk, owner=self.owner)

    def resident(
        self,
        ids: Sequence[int],
        namespace: str | None = None,
        *,
        adapted: Adapted = True,
        policy: AttentionPolicy | None = None,
    ) -> int:
        """Tokens of a prompt that need not be read again; the last one always is. Any thread may ask: what is looked at
        changes by single entries."""
        root = self._rooted(namespace, adapted, policy)
        return self._residency.resident(root, ids[:-1], grid_of(policy, self.chunk))

    def _rooted(self, namespace: str | None, adapted: Adapted, policy: AttentionPolicy | None) -> str:
        return rooted(self._root, namespace, adapted, key_of(policy, self.chunk))

    @on_owner
    def room(self) -> int:
        """Tokens that a new sequence could have at most."""
        return self._residency.available() * PAGE

    @on_owner
    def spare_bytes(self) -> int:
        """Memory that the pool has and nobody uses now."""
        return self._residency.spare() * self._residency.pool.page_bytes

    def pool_bytes(self) -> int:
        """Memory that the pool has taken from the system; any thread may ask."""
        pool = self._residency.pool
        return pool.touched * pool.page_bytes

    @on_owner
    def step(
        self,
        feeds: Sequence[tuple[KvSequence, Sequence[Fragment], Sequence[int]]],
        columns: Sequence[int] | None = None,
        *,
        is_prompt: bool = False,
    ) -> torch.Tensor:
        """Reads new tokens of several of its sequences in one step; see `sequence.step`."""
        return step(self._runner, feeds, columns, is_prompt=is_prompt)

    def check(self, policy: AttentionPolicy) -> None:
        """Raises ModelError, ConfigurationError: it is not for this model, see `AttentionPolicy.check`."""
        policy.check(self._residency.pool.shape, self.chunk)

    @on_owner
    def watch(self, sequence: KvSequence, ids: Sequence[int], watch: Watch) -> None:
        """Reads a prompt's tokens densely in one step, and shows each layer's attention."""
        watched(self._runner, sequence, ids, watch)

    @on_owner
    def forget(self) -> None:
        """Erases what was read, but for what running sequences use."""
        self._residency.clear()

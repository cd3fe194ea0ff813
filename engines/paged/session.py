"""A loaded model with its pages: makes sequences, and answers several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from turnout.engines.memory import PREFILL_CHUNK
from turnout.engines.paged.kinds import rooted
from turnout.engines.paged.pages import PAGE, KvShape, PagePool
from turnout.engines.paged.plan import Watch
from turnout.engines.paged.policy import AttentionPolicy, grid_of, key_of
from turnout.engines.paged.residency import Residency
from turnout.engines.paged.runner import Runner
from turnout.engines.paged.sequence import Fragment, KvSequence, step, watched
from turnout.engines.paged.tiers import Tier
from turnout.engines.writing import Writing

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
        int8, switch: see `Runner`.
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
        switch: Switch | None = None,
    ) -> None:
        # One more for the idle rows of graphs.
        pages = max(pool_bytes // shape.page_bytes(network.dtype.itemsize), 1) + (device != "cpu")
        pool = PagePool(shape, pages, network.dtype, device)
        self._runner = Runner(network, pool, device, int8=int8, switch=switch)
        self._residency = Residency(self._runner.pool, tiers)
        self._root = root
        self._chunk = chunk

    def sequence(
        self, namespace: str | None = None, *, adapted: bool = True, policy: AttentionPolicy | None = None
    ) -> KvSequence:
        """An empty sequence; it finds, and is found by, those of its namespace only, read with or without the adapter
        as it is, and by the same policy; None for dense.

        Raises:
            ModelError, ConfigurationError: see `AttentionPolicy.check`.
        """
        if policy is not None:
            self.check(policy)
        root = self._rooted(namespace, adapted, policy)
        return KvSequence(self._runner, self._residency, root, adapted=adapted, chunk=self._chunk, policy=policy)

    def resident(
        self,
        ids: Sequence[int],
        namespace: str | None = None,
        *,
        adapted: bool = True,
        policy: AttentionPolicy | None = None,
    ) -> int:
        """Tokens of a prompt that need not be read again; the last one always is."""
        root = self._rooted(namespace, adapted, policy)
        return self._residency.resident(root, ids[:-1], grid_of(policy, self._chunk))

    def _rooted(self, namespace: str | None, adapted: bool, policy: AttentionPolicy | None) -> str:
        return rooted(self._root, namespace, adapted, key_of(policy, self._chunk))

    def room(self) -> int:
        """Tokens that a new sequence could have at most."""
        return self._residency.available() * PAGE

    def spare_bytes(self) -> int:
        """Memory that the pool has and nobody uses now."""
        return self._residency.spare() * self._residency.pool.page_bytes

    def pool_bytes(self) -> int:
        """Memory that the pool has taken from the system."""
        pool = self._residency.pool
        return pool.touched * pool.page_bytes

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
        policy.check(self._residency.pool.shape, self._chunk)

    def watch(self, sequence: KvSequence, ids: Sequence[int], watch: Watch) -> None:
        """Reads a prompt's tokens densely in one step, and shows each layer's attention."""
        watched(self._runner, sequence, ids, watch)

    def write_together(self, answers: Sequence[tuple[KvSequence, torch.Tensor, Writing]]) -> list[str]:
        """Writes several answers in steps of one token each, all at once, until the last is over.

        Args:
            answers: (sequence that has read its prompt, logits [vocabulary] after it, empty answer).
        """
        texts = ["" for _ in answers]
        logits = [foretold for _, foretold, _ in answers]
        going = [place for place, (_, _, writing) in enumerate(answers) if writing.reason is None]
        while going:
            tokens = {}
            for place in going:
                tokens[place], shown = answers[place][2].next(logits[place])
                texts[place] += shown
            going = [place for place in going if answers[place][2].reason is None]
            if going:
                found = self.step([(answers[place][0], [[tokens[place]]], (-1,)) for place in going])
                for place, row in zip(going, found, strict=True):
                    logits[place] = row
        return [text + writing.rest() for text, (_, _, writing) in zip(texts, answers, strict=True)]

    def forget(self) -> None:
        """Erases what was read, but for what running sequences use."""
        self._residency.clear()

"""Whether a request fits the memory of the device, before anything is allocated for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from turnout.engines.device import available_memory_bytes
from turnout.engines.memory import Footprint
from turnout.engines.paged.pages import PAGE, pages_for
from turnout.errors import EngineError, MemoryLimitError

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session

POOL_BYTES = 2 << 30


class Admission:
    """The figures of one model on one device.

    Args:
        pool_bytes: most memory of keys and values; None for what the window takes, but at least POOL_BYTES, and at most
            half of the memory that is free beside the weights.

    Attributes:
        is_loaded: the weights are in memory.
        session: the loaded model's pages, where it has some.
    """

    def __init__(self, footprint: Footprint, device: str, pool_bytes: int | None = None) -> None:
        self.footprint = footprint
        self.is_loaded = False
        self.session: Session | None = None
        self._device = device
        self._pool_bytes = pool_bytes

    def pool_limit(self) -> int:
        """Bytes of keys and values."""
        if self._pool_bytes is not None:
            return self._pool_bytes
        free = self._available() - (0 if self.is_loaded else self.footprint.weights)
        window = self.footprint.cache(self.footprint.model.window)
        return max(min(free // 2, max(window, POOL_BYTES)), 0)

    def free_bytes(self) -> int:
        """Memory that weights and a request can have together; idle pages are free."""
        free = self._available() + self._spare()
        if not self.is_loaded:
            return free
        room = self._room()
        most = free if room is None else min(free, self.footprint.request(room, 0))
        return most + self.footprint.weights

    def check(self, prompt_tokens: int, new_tokens: int, beside: int = 0) -> None:
        """Refuses what does not fit, even if nothing else ran.

        Args:
            beside: tokens of another sequence of the same request.

        Raises:
            EngineError: it is over the window.
            MemoryLimitError: it is over the free memory, or over the room for keys and values.
        """
        tokens, window = prompt_tokens + new_tokens, self.footprint.model.window
        if tokens > window:
            raise EngineError(
                f"{prompt_tokens:,} prompt tokens and {new_tokens:,} new ones are over the window of {window:,}",
                hint="give fewer documents, use another strategy, or a model with a larger window",
            )
        self._check_memory(
            prompt_tokens, new_tokens, beside, self._spare(), 0 if self.is_loaded else self.footprint.weights
        )
        room, tokens = self._room(), tokens + pages_for(beside) * PAGE
        if room is not None and tokens > room:
            raise MemoryLimitError(
                f"{tokens:,} tokens are over the {room:,} whose keys and values there is room for",
                hint="give fewer documents, or allow more memory for keys and values",
            )

    def check_now(self, prompt_tokens: int, new_tokens: int, beside: int, promised: int) -> None:
        """Refuses what does not fit the memory that is free beside what runs. Of a loaded model, in its owner's thread.

        Args:
            beside: see `check`.
            promised: bytes that running requests will still take.

        Raises:
            MemoryLimitError: it does not.
        """
        spare = self.session.spare_bytes() if self.session is not None else 0
        self._check_memory(prompt_tokens, new_tokens, beside, spare, promised)

    def _check_memory(self, prompt_tokens: int, new_tokens: int, beside: int, spare: int, more: int) -> None:
        free, others = self._available(), self.footprint.cache(beside)
        held = self.footprint.cache(prompt_tokens + new_tokens) + others
        needed = self.footprint.request(prompt_tokens, new_tokens) + others - min(spare, held) + more
        if needed > free:
            raise MemoryLimitError(
                f"{prompt_tokens:,} prompt tokens need about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
                hint="give fewer documents, set a budget of prompt tokens, or use a smaller model",
            )

    def _room(self) -> int | None:
        """Tokens that a new sequence could have, if it were the only one; None where they do not lie in pages."""
        if self.session is not None:
            return self.session.most
        if not self.footprint.paged:
            return None
        return self.pool_limit() // self.footprint.cache(1) * PAGE

    def _available(self) -> int:
        return available_memory_bytes(self._device)

    def _spare(self) -> int:
        """What the pool has taken: a request waits for the pages of others."""
        return self.session.pool_bytes() if self.session is not None else 0

"""Whether a request fits the memory of the device, before anything is allocated for it."""

from __future__ import annotations

from collections.abc import Sequence
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
        """Refuses what does not fit.

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
        free, held = self._available(), self.footprint.cache(tokens) + self.footprint.cache(beside)
        needed = self.footprint.request(prompt_tokens, new_tokens) + self.footprint.cache(beside)
        needed -= min(self._spare(), held)
        if not self.is_loaded:
            needed += self.footprint.weights
        if needed > free:
            raise MemoryLimitError(
                f"{prompt_tokens:,} prompt tokens need about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
                hint="give fewer documents, set a budget of prompt tokens, or use a smaller model",
            )
        room, tokens = self._room(), tokens + pages_for(beside) * PAGE
        if room is not None and tokens > room:
            raise MemoryLimitError(
                f"{tokens:,} tokens are over the {room:,} whose keys and values there is room for",
                hint="give fewer documents, or allow more memory for keys and values",
            )

    def together(self, prompts: Sequence[Sequence[int]], new_tokens: int, most: int) -> int:
        """How many of the first prompts can be answered at once: at least one, at most `most`."""
        room = (self._room() or 0) // PAGE * self.footprint.cache(1)
        left = min(room, self._available() + self._spare())
        for count, ids in enumerate(prompts[:most]):
            left -= self.footprint.cache(len(ids) + new_tokens)
            if left < 0:
                return max(count, 1)
        return min(len(prompts), most)

    def _room(self) -> int | None:
        """Tokens that a new sequence could have; None where they do not lie in pages."""
        if self.session is not None:
            return self.session.room()
        if not self.footprint.paged:
            return None
        return self.pool_limit() // self.footprint.cache(1) * PAGE

    def _available(self) -> int:
        return available_memory_bytes(self._device)

    def _spare(self) -> int:
        return self.session.spare_bytes() if self.session is not None else 0

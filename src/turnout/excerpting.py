"""What a `Turnout` does with texts that others have found."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from turnout.asking import Excerpt
from turnout.documents import Text
from turnout.in_thread import in_thread
from turnout.progress import Progress, Watch

if TYPE_CHECKING:
    from turnout.parts import Parts


class Excerpting(ABC):
    """The part of `Turnout` that compresses."""

    _progress: Progress

    @abstractmethod
    def _opened(self) -> Parts:
        """What is held open."""

    @abstractmethod
    def _in_turn(self, stopped: Callable[[], bool] | None = None) -> AbstractContextManager[Callable[[], bool]]:
        """Waits until no other question is answered; gives what says that this one is to stop."""

    def compress(
        self,
        question: str,
        texts: Sequence[str | Text],
        *,
        strategy: str = "extract",
        threshold: float | None = None,
        max_tokens: int | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> list[tuple[Excerpt, ...]]:
        """What a question wants of each text, word for word; nothing of a text that it wants nothing of.

        Args:
            texts: a `Text` has a title, whose suffix tells the language of source code.
            strategy: "extract", or what asks the model: "extract:exit", "extract:code", and "extract:draft", which cuts
                inside sentences (docs/compression.md).
            threshold: score, 0 to 1, from which a sentence is kept; the scorer's own by default.
            max_tokens: most that is kept of all texts together, the best first, in the model's tokens (estimated where
                it is not here); no limit by default.
            stopped: asked between batches; True gives up with `Cancelled`. What was scored until then is kept.

        Raises:
            ConfigurationError: an option can't be meant, or the model can't do it.
            Cancelled: `stopped` said so.
        """
        from turnout.excerpts import asks_model, excerpts

        with contextlib.ExitStack() as stack:
            if asks_model(strategy):
                stopped = stack.enter_context(self._in_turn(stopped))
            watch = Watch(stopped, self._progress)
            return excerpts(self._opened(), question, texts, strategy, threshold, max_tokens, watch)

    async def acompress(self, question: str, texts: Sequence[str | Text], **options: Any) -> list[tuple[Excerpt, ...]]:
        """`compress` without blocking the event loop; cancelling the task ends the work after its batch."""
        return await in_thread(lambda stopped: self.compress(question, texts, stopped=stopped, **options))

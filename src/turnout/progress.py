"""How long work tells how far it is, and how it learns that nobody wants it any more: callables, so that a terminal, a
log or nothing can listen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from turnout.errors import Cancelled

if TYPE_CHECKING:
    from turnout.contracts import Stopper
    from turnout.types import Finished


class Progress(Protocol):
    """Called with the stage ("reading", "embedding", "measuring", "scanning", "compressing", "prefill"), what is done
    and what there is to do."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""


class Watch:
    """Goes along with one piece of work before an answer: hears of every step, and may end it after one.

    Args:
        stopped: asked after each step; nobody gives up by default.
        progress: told how far the work is.
        namespace: as in `GenerationParams`: whose questions what is read may serve.

    Attributes:
        read_tokens: that a model has read for it so far, beyond the prompts of `asked`.
        asked: the task of each question to the reader before the answer, and how it ended.
        notes: what whoever gets the answer is told of it.
    """

    def __init__(
        self, stopped: Stopper | None = None, progress: Progress = silent, namespace: str | None = None
    ) -> None:
        self._stopped = stopped
        self.progress = progress
        self.namespace = namespace
        self.read_tokens = 0
        self.asked: list[tuple[str, Finished]] = []
        self.notes: list[str] = []

    def go_on(self) -> None:
        """Raises Cancelled where the caller gave up."""
        if self._stopped is not None and self._stopped():
            raise Cancelled("given up before the answer was complete")

    def read(self, tokens: int) -> None:
        """A model has read so many tokens more.

        Raises:
            Cancelled: see `go_on`.
        """
        self.read_tokens += tokens
        self.go_on()

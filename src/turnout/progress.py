"""How long work tells how far it is: a callable, so that a terminal, a log or nothing can listen."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the stage ("reading", "embedding", "measuring"), what is done and what there is to do."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""

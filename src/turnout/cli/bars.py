"""Progress bars on stderr: shown on a terminal, silent in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

import click

_LABELS = {
    "reading": "reading documents",
    "embedding": "embedding segments",
    "prefill": "reading the prompt",
    "measuring": "measuring this machine once",
    "loading": "loading the model",
}


class Bars:
    """One bar at a time, by stage; a `turnout.progress.Progress`."""

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._stage = ""
        self._bar: Any = None
        self._done = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._show or total <= 1:
            return
        if stage != self._stage:
            self.clear()
            self._stage, self._done = stage, 0
            label = _LABELS.get(stage, stage)
            self._bar = click.progressbar(length=total, label=label, file=sys.stderr, width=30)
            self._bar.__enter__()
        self._bar.update(done - self._done)
        self._done = done
        if done >= total:
            self.clear()

    def clear(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._bar = None
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

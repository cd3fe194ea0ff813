"""Progress bars on stderr: shown on a terminal, silent in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

_LABELS = {
    "reading": "reading documents",
    "embedding": "embedding segments",
    "prefill": "reading the prompt",
    "measuring": "measuring this machine once",
    "evaluating": "measuring rows",
    "calibrating": "asking on synthetic documents",
}


class Bars:
    """One bar at a time, by stage; a `turnout.progress.Progress`."""

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._show or total <= 1:
            return
        if stage != self._stage or self._bar is None:
            from tqdm import tqdm

            self.clear()
            self._stage = stage
            self._bar = tqdm(desc=_LABELS.get(stage, stage), total=total, file=sys.stderr, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.clear()

    def clear(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

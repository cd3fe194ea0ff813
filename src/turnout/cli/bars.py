"""Progress on stderr: bars on a terminal; elsewhere a line a minute for what takes hours, and silence for the rest."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

_LABELS = {
    "reading": "reading documents",
    "embedding": "embedding segments",
    "prefill": "reading the prompt",
    "measuring": "measuring this machine once",
    "scanning": "judging passages",
    "compressing": "making soft tokens",
    "evaluating": "measuring rows",
    "calibrating": "asking on synthetic documents",
    "preparing": "preparing lessons",
    "keeping": "answering as the model is",
    "rewarding": "weighing bands of passages",
    "training": "training steps",
    "scoring": "answering the valid fold",
}

_HOURS = frozenset({"evaluating", "calibrating", "keeping", "rewarding", "training", "scoring"})
LINE_EVERY_S = 60.0


class Bars:
    """One bar at a time, by stage; a `turnout.progress.Progress`."""

    def __init__(self, show: bool | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._stage = ""
        self._bar: Any = None
        self._begun = (0.0, 0)
        self._last_line = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if total <= 1:
            return
        if not self._show:
            self._line(stage, done, total)
            return
        if stage != self._stage or self._bar is None:
            from tqdm import tqdm

            self.clear()
            self._stage = stage
            self._bar = tqdm(desc=_LABELS.get(stage, stage), total=total, initial=done, file=sys.stderr, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.clear()

    def _line(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage not in _HOURS or stage != self._stage or done < self._begun[1]:
            self._stage, self._begun, self._last_line = stage, (now, done), now
        elif now - self._last_line >= LINE_EVERY_S and done > self._begun[1]:
            left = (now - self._begun[0]) / (done - self._begun[1]) * (total - done)
            print(
                f"{_LABELS[stage]}: {done:,} of {total:,}, about {left / 60:.0f} min left", file=sys.stderr, flush=True
            )
            self._last_line = now

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

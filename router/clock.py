"""Times one answer: which steps ran and what they took, with loading and indexing set aside as surface.md defines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Starts when it is made. Steps told as `aside` (load, index) count neither in `ttft_s` nor in `total_s`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: list[tuple[str, float]] = []
        self._aside: dict[str, float] = {}
        self.ttft_s: float | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of answering; it appears in the trace."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._steps.append((name, time.perf_counter() - start))

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Loading or indexing: first-use work that a second question does not pay."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self._aside[name] = self._aside.get(name, 0.0) + seconds
            self._steps.append((name, seconds))

    def first_word(self) -> None:
        """Marks the first answer character that the caller sees; later calls change nothing."""
        if self.ttft_s is None:
            self.ttft_s = self.total_s()

    def total_s(self) -> float:
        """Seconds since the call, without what was set aside."""
        return time.perf_counter() - self._start - sum(self._aside.values())

    def seconds(self, name: str) -> float:
        """Seconds set aside under one name."""
        return self._aside.get(name, 0.0)

    def step_seconds(self, name: str) -> float:
        """Seconds of the steps of one name."""
        return sum(seconds for step, seconds in self._steps if step == name)

    def trace(self) -> tuple[str, ...]:
        """Each step with its milliseconds, in the order in which they ended."""
        return tuple(f"{name} {seconds * 1000:.0f} ms" for name, seconds in self._steps)

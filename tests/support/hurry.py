"""Time that goes by for a server's engine alone, so that tests of its limits don't depend on the machine's speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from turnout.engines import remote

HOURS_S = 10_000.0


def hurry(monkeypatch: pytest.MonkeyPatch, late: Callable[[], bool]) -> None:
    """Lets HOURS_S go by from when `late` says so."""
    clock = time.perf_counter
    monkeypatch.setattr(remote, "time", SimpleNamespace(perf_counter=lambda: clock() + HOURS_S * late()))

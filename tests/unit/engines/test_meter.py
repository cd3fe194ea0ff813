"""Limits of time: kept before they are over."""

import pytest

from turnout.engines import meter
from turnout.engines.meter import Meter
from turnout.errors import EngineTimeoutError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(meter, "time", found)
    return found


def test_a_step_that_would_end_after_the_limit_is_not_begun(clock: Clock) -> None:
    found = Meter("cpu", 0, timeout_s=10.0)
    clock.now += 5  # waited for others: no step of its own
    found.begin()
    clock.now += 2
    found.check(more=True)
    clock.now += 2
    with pytest.raises(EngineTimeoutError, match=r"stopped after 9\.0 s, the limit is 10 s"):
        found.check(more=True)


def test_the_last_step_before_the_first_token_may_end_just_inside(clock: Clock) -> None:
    found = Meter("cpu", 0, timeout_s=10.0)
    found.begin()
    clock.now += 9.9
    found.check(more=False)
    clock.now += 0.2
    with pytest.raises(EngineTimeoutError):
        found.check(more=False)


def test_without_a_limit_nothing_ends(clock: Clock) -> None:
    found = Meter("cpu", 0, timeout_s=None)
    clock.now += 1e6
    found.check(more=True)
    assert not found.is_over

"""Estimates of seconds: a middle, and an interval that limits are held against at its high end."""

import pytest
from support.routing import PROFILE, signals

from turnout.errors import BudgetError
from turnout.router.cost import LENGTHS, SPREAD, candidate
from turnout.router.policy import decide
from turnout.router.profile import ModelProfile
from turnout.router.quality import Estimate
from turnout.types import Budget, Candidate

SURE = Estimate(0.6, 0.5, 0.7)


def estimated(profile: ModelProfile = PROFILE, **changes: int) -> Candidate:
    return candidate("rag", SURE, 1000, signals(**changes), profile, lambda *_: None)


def test_seconds_have_an_interval_around_their_middle() -> None:
    found = estimated()
    assert found.ttft_low_s < found.ttft_s < found.ttft_high_s  # type: ignore[operator]
    assert found.total_low_s < found.total_s < found.total_high_s  # type: ignore[operator]
    read = PROFILE.prefill_seconds(1000)
    assert found.ttft_high_s - found.ttft_s == pytest.approx((SPREAD[1] - 1) * read)  # type: ignore[operator]


def test_the_high_end_of_writing_is_never_more_than_is_allowed() -> None:
    tight = estimated(expected_new_tokens=24, max_new_tokens=24)
    loose = estimated(expected_new_tokens=24, max_new_tokens=480)
    assert tight.total_high_s < loose.total_high_s  # type: ignore[operator]
    written = (loose.total_high_s - loose.ttft_high_s) / SPREAD[1]  # type: ignore[operator]
    assert written == pytest.approx(PROFILE.decode_seconds(1000, int(LENGTHS[2] * 24) - 1))


def test_what_the_ledger_saw_narrows_the_interval_and_moves_the_length() -> None:
    from dataclasses import replace

    seen = replace(PROFILE, spreads={"rag": (0.95, 1.1)}, lengths={"rag": (0.2, 0.4, 0.6)})
    before, after = estimated(), estimated(seen)
    assert after.total_s < before.total_s  # type: ignore[operator]
    width = [found.total_high_s - found.total_low_s for found in (before, after)]  # type: ignore[operator]
    assert width[1] < width[0] / 2


def test_a_limit_is_held_against_the_high_end_and_the_refusal_names_it() -> None:
    found = estimated()
    assert found.total_s is not None and found.total_high_s is not None
    between = (found.total_s + found.total_high_s) / 2
    with pytest.raises(BudgetError) as refused:
        decide([found], Budget(max_total_s=between), signals(), PROFILE)
    assert "nearest possible: rag with max_total_s=" in (refused.value.hint or "")
    assert decide([found], Budget(max_total_s=found.total_high_s + 0.01), signals(), PROFILE).chosen == "rag"

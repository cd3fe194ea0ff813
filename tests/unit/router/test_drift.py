"""Drift: a warning where predictions stop matching what is measured, and none by chance."""

from typing import Any

import numpy as np

from turnout.router.drift import ENOUGH, found


def record(measured_s: float, completion: int = 20, strategy: str = "rag") -> dict[str, Any]:
    chosen = {"strategy": strategy, "chosen": True, "quality": 0.5}
    chosen |= {f"{name}_{end}_s": value for name in ("ttft", "total") for end, value in (("low", 1.0), ("high", 2.0))}
    usage = {"ttft_s": measured_s, "total_s": 1.5, "completion_tokens": completion}
    return {"decision": {"chosen": strategy, "candidates": [chosen]}, "usage": usage}


def verdict(quality: float, good: bool) -> tuple[dict[str, Any], bool]:
    return {"candidates": [{"strategy": "rag", "chosen": True, "quality": quality}]}, good


def test_seconds_that_leave_their_interval_too_often_are_told() -> None:
    (drift,) = found([record(5.0)] * 15 + [record(1.5)] * 15, [])
    assert (drift.strategy, drift.of, drift.answers, drift.measured) == ("rag", "first word", 30, 0.5)
    assert "50% of the latest 30 answers took as long as predicted (first word)" in str(drift)
    assert "turnout calibrate cost" in drift.hint


def test_few_answers_old_ones_and_those_without_a_word_tell_nothing() -> None:
    assert found([record(5.0)] * (ENOUGH - 1), []) == []
    assert found([record(1.5)] * 50 + [record(5.0)] * 100, []) == []
    assert found([record(5.0, completion=0)] * 50, []) == []
    assert found([], []) == []


def test_eight_in_ten_inside_is_as_predicted() -> None:
    rng = np.random.default_rng(3)
    warned = sum(bool(found([record(1.5 if rng.random() < 0.8 else 5.0) for _ in range(50)], [])) for _ in range(200))
    assert warned <= 6


def test_verdicts_that_don_t_match_the_expected_scores_are_told() -> None:
    (drift,) = found([], [verdict(0.7, good=n % 4 == 0) for n in range(40)])
    assert (drift.of, round(drift.predicted, 2), round(drift.measured, 2)) == ("quality", 0.7, 0.25)
    assert "turnout calibrate quality" in drift.hint
    assert found([], [verdict(0.7, good=n % 10 < 7) for n in range(40)]) == []
    assert found([], [verdict(1.0, good=True)] * 30) == []

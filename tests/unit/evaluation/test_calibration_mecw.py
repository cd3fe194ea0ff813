"""The test behind MECW, on tallies whose outcome is known."""

import numpy as np
import pytest

from turnout.router.calibration.mecw import Tally, effective_window, holm, score_interval

SIZES = (256, 512, 1024, 2048)


def tally(right: int, of: int, documents: int = 10) -> Tally:
    """Every document alike: no spread, so that the outcome does not hang on draws."""
    return Tally(np.full(documents, float(right)), np.full(documents, float(of)))


def test_holm_compares_the_smallest_p_with_alpha_over_m_and_stops_at_the_first_failure() -> None:
    # Sorted: .005 <= .05/4, .01 <= .05/3, .03 > .05/2: stop, so .04 <= .05/1 is not looked at.
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04]) == [True]
    assert holm([]) == []


def test_the_window_ends_before_the_first_fall_even_where_a_larger_size_recovers() -> None:
    found = effective_window(SIZES, [tally(5, 5), tally(5, 5), tally(2, 5), tally(5, 5)])
    assert (found.mecw, found.low, found.high) == (512, 512, 512)
    # No draw of the third size reaches acc_0 - delta: p = 1 / (2000 + 1).
    assert found.p_values == (1.0, 1 / 2001, 1.0)


def test_a_fall_by_delta_is_allowed_and_a_larger_one_is_not() -> None:
    assert effective_window(SIZES[:2], [tally(20, 20), tally(19, 20)]).mecw == 512
    assert effective_window(SIZES[:2], [tally(20, 20), tally(18, 20)]).mecw == 256


def test_a_kind_with_too_little_to_lose_is_not_measurable() -> None:
    found = effective_window(SIZES[:2], [tally(1, 10), tally(0, 10)])
    assert (found.mecw, found.low, found.high) == (None, None, None)
    assert "10% right at 256 tokens" in found.reason


def test_a_kind_at_chance_is_not_measurable_and_one_above_it_is() -> None:
    found = effective_window(SIZES[:2], [tally(2, 4), tally(2, 4)], chance=0.5)
    assert found.mecw is None
    assert "not told apart from 50% by chance" in found.reason
    assert effective_window(SIZES[:2], [tally(4, 4), tally(4, 4)], chance=0.5).mecw == 512


def test_below_chance_is_called_below() -> None:
    # 30% of 30 documents: Wilson's 90% interval ends under 0.46.
    found = effective_window(SIZES[:2], [tally(3, 10, 30), tally(3, 10, 30)], chance=0.5)
    assert found.mecw is None
    assert found.reason == "30% right at 256 tokens, below 50% by chance"


def test_few_unlike_documents_give_a_wide_interval_and_the_estimate_lies_in_it() -> None:
    halves = Tally(np.array([5.0, 5, 4, 5, 1, 5, 3, 5]), np.full(8, 5.0))
    found = effective_window(SIZES, [tally(5, 5, 8), halves, halves, halves])
    assert found.mecw is not None
    assert found.low <= found.mecw <= found.high
    assert found.low < found.high


def test_the_bootstrap_draws_documents_not_trials() -> None:
    # Two documents, all right and all wrong: a draw of two is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
    assert score_interval(Tally(np.array([0.0, 50.0]), np.array([50.0, 50.0]))) == (0.0, 1.0)


def test_documents_all_alike_get_the_interval_of_wilson_not_certainty() -> None:
    # z = 1.96; all right in n documents: n / (n + z^2) = 30 / 33.8415.
    assert score_interval(tally(5, 5, 30)) == (pytest.approx(0.88649, abs=1e-4), pytest.approx(1.0))
    # Half right: 1/2 +- z / (1 + z^2 / 10) * sqrt(1/40 + z^2/400) = 1/2 +- 1.96 / 1.38415 * 0.18602
    low, high = score_interval(tally(25, 50, 10))
    assert (low, high) == pytest.approx((0.23659, 0.76341), abs=1e-4)


def test_sizes_are_compared_on_the_same_documents() -> None:
    # Every document loses a tenth of 10 trials, and documents differ far more than that among themselves. Drawn apart,
    # the two means would overlap in most draws; drawn together, every draw falls by 0.1, which is over delta.
    of = np.full(12, 10.0)
    first = np.array([10.0, 1] * 6)
    found = effective_window(SIZES[:2], [Tally(first, of), Tally(first - 1, of)])
    assert found.p_values == (1 / 2001,)
    assert (found.mecw, found.low, found.high) == (256, 256, 256)

"""Estimates of seconds: a middle, and an interval that limits are held against at its high end."""

from dataclasses import replace
from typing import Any

import pytest
from support.routing import PROFILE, signals

from turnout.errors import BudgetError
from turnout.router.cost import LENGTHS, affordable, candidate
from turnout.router.policy import decide
from turnout.router.prices import Pricing
from turnout.router.profile import SPREAD, ModelProfile
from turnout.router.quality import Estimate
from turnout.types import Budget, Candidate

SURE = Estimate(0.6, 0.5, 0.7)


PRICED = Pricing("model-a", "/etc/prices.toml", "EUR", 0.5, 0.1, 2.0)


def estimated(profile: ModelProfile = PROFILE, resident: int = 0, **changes: Any) -> Candidate:
    return candidate("rag", SURE, 1000, signals(**changes), profile, lambda *_: None, resident_tokens=resident)


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
    seen = replace(PROFILE, spreads={"rag": (0.95, 1.1)}, lengths={"location": (0.2, 0.4, 0.6)})
    before, after = estimated(), estimated(seen)
    assert after.total_s < before.total_s  # type: ignore[operator]
    width = [found.total_high_s - found.total_low_s for found in (before, after)]  # type: ignore[operator]
    assert width[1] < width[0] / 2


def test_what_was_learned_of_one_task_is_not_said_of_another() -> None:
    seen = replace(PROFILE, corrections={"rag": 2.0, "rag location": 0.5}, lengths={"location": (0.2, 0.4, 0.6)})
    short, long = estimated(seen), estimated(seen, task="summarisation")
    assert long.ttft_s - short.ttft_s == pytest.approx(1.5 * PROFILE.prefill_seconds(1000))  # type: ignore[operator]
    written = (long.total_high_s - long.ttft_high_s) / (2.0 * SPREAD[1])  # type: ignore[operator]
    assert written == pytest.approx(estimated_writing(LENGTHS[2]))


def test_pieces_that_are_read_alone_take_less_than_one_long_prompt() -> None:
    whole, pieces = estimated(), estimated(piece_tokens=250)
    assert whole.ttft_s - pieces.ttft_s == pytest.approx(  # type: ignore[operator]
        PROFILE.prefill_seconds(1000) - 4 * PROFILE.prefill_seconds(250)
    )
    assert estimated(piece_tokens=2000) == whole, "a short text is one piece"
    half = estimated(piece_tokens=250, resident=500)
    assert pieces.ttft_s - half.ttft_s == pytest.approx(2 * PROFILE.prefill_seconds(250))  # type: ignore[operator]


def estimated_writing(share: float) -> float:
    at = signals()
    return PROFILE.decode_seconds(1000, 1) * (min(share * at.expected_new_tokens, at.max_new_tokens) - 1)


def test_a_limit_is_held_against_the_high_end_and_the_refusal_names_it() -> None:
    found = estimated()
    assert found.total_s is not None and found.total_high_s is not None
    between = (found.total_s + found.total_high_s) / 2
    with pytest.raises(BudgetError) as refused:
        decide([found], Budget(max_total_s=between), signals(), PROFILE)
    assert "nearest possible: rag with max_total_s=" in (refused.value.hint or "")
    assert decide([found], Budget(max_total_s=found.total_high_s + 0.01), signals(), PROFILE).chosen == "rag"


def test_a_cost_has_an_interval_by_how_long_answers_get() -> None:
    found = estimated(pricing=PRICED, expected_new_tokens=24, max_new_tokens=48)
    read = 1000 * 0.5 / 1e6
    assert found.cost_low == pytest.approx(read + LENGTHS[0] * 24 * 2 / 1e6)
    assert found.cost == pytest.approx(read + 24 * 2 / 1e6)
    assert found.cost_high == pytest.approx(read + 48 * 2 / 1e6)


def test_resident_tokens_cost_what_cached_ones_do() -> None:
    cold, resident = estimated(pricing=PRICED), estimated(pricing=PRICED, resident=900)
    assert cold.cost - resident.cost == pytest.approx(900 * (0.5 - 0.1) / 1e6)  # type: ignore[operator]


def test_without_prices_a_cost_is_this_machines_seconds_and_elsewhere_not_known() -> None:
    here = candidate("rag", SURE, 1000, signals(), PROFILE, lambda *_: 2**30)
    assert (here.cost_low, here.cost, here.cost_high) == (here.total_low_s, here.total_s, here.total_high_s)
    assert (estimated().cost, estimated().cost_high) == (None, None)


def test_a_model_without_a_price_is_excluded_by_a_limit_on_cost_and_the_refusal_says_which_and_what_to_do() -> None:
    unknown = Pricing("model-b", "/etc/prices.toml", "EUR")
    at = signals(pricing=unknown)
    assert decide([estimated(pricing=unknown)], Budget(), at, PROFILE).chosen == "rag"
    with pytest.raises(BudgetError, match=r"rag: max_cost .*no price of 'model-b' in prices\.toml") as refused:
        decide([estimated(pricing=unknown)], Budget(max_cost=1.0), at, PROFILE)
    assert 'add [models."model-b"]' in refused.value.hint
    assert not refused.value.retryable


def test_the_cheapest_without_prices_is_the_one_that_reads_least_and_says_so() -> None:
    at = signals()
    pair = [candidate(n, SURE, tokens, at, PROFILE, lambda *_: None) for n, tokens in (("full", 4000), ("rag", 1000))]
    decision = decide(pair, Budget(optimize="cost"), at, PROFILE)
    assert decision.chosen == "rag"
    assert decision["rag"].reasons[0].startswith("fewest prompt tokens of those within 0.05 of the best quality: no pr")


def test_the_cheapest_is_found_by_price_and_the_others_say_how_much_dearer_they_are() -> None:
    # What is resident is so cheap here that reading all of it costs less than a few passages that are not.
    at = signals(pricing=Pricing("m", "f", "EUR", 10.0, 0.1, 1.0))
    full = candidate("full", SURE, 4000, at, PROFILE, lambda *_: None, resident_tokens=3950)
    rag = candidate("rag", SURE, 1000, at, PROFILE, lambda *_: None)
    decision = decide([full, rag], Budget(optimize="cost"), at, PROFILE)
    assert decision.chosen == "full"
    assert decision["rag"].reasons[0].endswith("0.0091 EUR dearer")


def test_a_limit_on_cost_is_held_against_the_high_end() -> None:
    found = estimated(pricing=PRICED)
    assert found.cost is not None and found.cost_high is not None
    at = signals(pricing=PRICED)
    with pytest.raises(BudgetError, match="max_cost") as refused:
        decide([found], Budget(max_cost=(found.cost + found.cost_high) / 2), at, PROFILE)
    assert "nearest possible: rag with max_cost=0.000602" in refused.value.hint
    assert decide([found], Budget(max_cost=0.000602), at, PROFILE).chosen == "rag"


def test_no_more_is_written_than_a_limit_on_cost_pays_for() -> None:
    at = signals(pricing=PRICED, expected_new_tokens=24, max_new_tokens=480)
    found = candidate("rag", SURE, 1000, at, PROFILE, lambda *_: None)
    assert found.cost_high is not None
    assert affordable(found, Budget(), at, PROFILE) == 480
    assert affordable(found, Budget(max_cost=1.0), at, PROFILE) == 480
    for tokens in (48, 100, 479):
        limit = PRICED.cost(1000, 0, tokens, None)
        assert limit is not None
        assert affordable(found, Budget(max_cost=limit * 1.0001), at, PROFILE) == tokens
    free = replace(PRICED, output=0.0)
    assert affordable(found, Budget(max_cost=1e-9), signals(pricing=free, max_new_tokens=480), PROFILE) == 480


def test_what_the_model_reads_to_choose_is_paid_for_and_is_no_part_of_the_prompt() -> None:
    at = signals(pricing=PRICED)
    plain, scanned = (candidate("a", SURE, 1000, at, PROFILE, lambda *_: None, scanned_tokens=n) for n in (0, 4000))
    assert scanned.prompt_tokens == plain.prompt_tokens == 1000
    assert scanned.scanned_tokens == 4000
    assert scanned.cost == pytest.approx(plain.cost + PRICED.cost(4000, 0, 0, None))
    assert scanned.cost_low < scanned.cost < scanned.cost_high
    assert scanned.cost_high - plain.cost_high == pytest.approx(PRICED.cost(round(SPREAD[1] * 4000), 0, 0, None))


def test_what_was_scanned_beyond_the_expected_is_not_written() -> None:
    at = signals(pricing=PRICED, expected_new_tokens=24, max_new_tokens=480)
    found = candidate("a", SURE, 1000, at, PROFILE, lambda *_: None, scanned_tokens=4000)
    limit = Budget(max_cost=found.cost_high)
    most = round(SPREAD[1] * 4000)
    few, usual, many = (affordable(found, limit, at, PROFILE, read) for read in (most + 100, most, most - 100))
    assert few < usual < many
    for read, tokens in ((most + 100, few), (most, usual), (most - 100, many)):
        assert PRICED.cost(1000 + read, 0, tokens, None) <= found.cost_high * 1.0001
    assert affordable(found, limit, at, PROFILE, 10**9) == 1

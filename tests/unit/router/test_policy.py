import math

import pytest
from support.routing import PROFILE, candidate, signals

from turnout.errors import BudgetError, ConfigurationError, UnknownNameError
from turnout.router.policy import decide, is_close
from turnout.types import Budget, Exclusion

BOTH = [
    candidate("full", quality=0.60, ttft_s=6.0, total_s=8.0, prompt_tokens=7000, cost=8.0),
    candidate("rag", quality=0.55, ttft_s=1.0, total_s=2.0, prompt_tokens=1100, cost=2.0),
]


def chosen(budget: Budget, forced: str | None = None) -> str:
    return decide(BOTH, budget, signals(), PROFILE, forced=forced).chosen


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(), "full"),
        (Budget(optimize="latency"), "rag"),
        (Budget(optimize="cost"), "rag"),
        (Budget(optimize="balanced"), "rag"),
        (Budget(max_ttft_s=3), "rag"),
        (Budget(max_total_s=3), "rag"),
        (Budget(max_prompt_tokens=2000), "rag"),
        (Budget(max_cost=3), "rag"),
    ],
)
def test_choice(budget: Budget, expected: str) -> None:
    assert chosen(budget) == expected


def test_equal_quality_goes_to_the_faster() -> None:
    tied = [candidate("full", total_s=8.0, quality=0.602), candidate("rag", total_s=2.0, quality=0.6)]
    assert decide(tied, Budget(), signals(), PROFILE).chosen == "rag"


def test_latency_never_takes_what_is_clearly_worse() -> None:
    worse = [BOTH[0], candidate("rag", quality=0.5, ttft_s=0.5)]
    assert decide(worse, Budget(optimize="latency"), signals(), PROFILE).chosen == "full"


def test_every_candidate_says_why() -> None:
    decision = decide(BOTH, Budget(max_ttft_s=3), signals(), PROFILE)
    assert decision["full"].excluded_by == Exclusion("max_ttft_s", 3, 6.0)
    assert decision["rag"].chosen
    assert "highest quality within limits" in decision["rag"].reasons
    assert decision.would_flip == ("full possible at max_ttft_s 6 or more",)
    runner_up = decide(BOTH, Budget(), signals(), PROFILE)["rag"].reasons[0]
    assert runner_up == "0.05 lower, 5.0 s faster to first word"


def test_an_impossible_budget_names_the_limit_and_the_nearest_possible() -> None:
    with pytest.raises(BudgetError) as caught:
        decide(BOTH, Budget(max_ttft_s=0.5), signals(), PROFILE)
    assert "max_ttft_s" in caught.value.message
    assert "rag with max_ttft_s=1" in caught.value.hint
    decide(BOTH, Budget(max_ttft_s=1.0), signals(), PROFILE)


def test_an_unknown_estimate_is_a_risk_not_zero() -> None:
    remote = [candidate("rag", cost=None)]
    assert decide(remote, Budget(), signals(), PROFILE).chosen == "rag"
    with pytest.raises(BudgetError, match="not known"):
        decide(remote, Budget(max_cost=100), signals(), PROFILE)


def test_forcing_is_by_name_and_inside_the_limits() -> None:
    assert chosen(Budget(), forced="rag") == "rag"
    with pytest.raises(UnknownNameError, match="did you mean 'rag'"):
        chosen(Budget(), forced="rga")
    with pytest.raises(BudgetError):
        chosen(Budget(max_ttft_s=3), forced="full")


def test_order_of_candidates_never_matters() -> None:
    assert decide(BOTH[::-1], Budget(), signals(), PROFILE).chosen == decide(BOTH, Budget(), signals(), PROFILE).chosen


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "3"])
def test_a_limit_must_be_a_positive_number(value: object) -> None:
    with pytest.raises(ConfigurationError, match="max_total_s"):
        decide(BOTH, Budget(max_total_s=value), signals(), PROFILE)  # type: ignore[arg-type]


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_ttft_s 5 is over max_total_s 2"):
        decide(BOTH, Budget(max_total_s=2, max_ttft_s=5), signals(), PROFILE)


def test_a_decision_is_close_where_a_search_could_change_it() -> None:
    def close(full: float, forced: str | None = None, tokens: int = 7000) -> bool:
        pair = [candidate("full", quality=full, prompt_tokens=tokens), candidate("rag", quality=0.55)]
        return is_close(decide(pair, Budget(), signals(), PROFILE, forced))

    assert close(0.57) and close(0.53)
    assert not close(0.60)
    assert not close(0.57, forced="rag")
    assert not close(0.55, tokens=1000), "both would read the same"


def test_what_would_flip_names_the_kind_of_question_that_would() -> None:
    at = signals(document_tokens=8000, parameters=70_000_000_000)
    pair = [
        candidate("full", quality=0.5, prompt_tokens=8000),
        candidate("rag", quality=0.6, prompt_tokens=1100),
    ]
    decision = decide(pair, Budget(), at, PROFILE)
    assert decision.chosen == "rag"
    assert decision.because[0].startswith("rag against full: ")
    assert decision.would_flip == ("full if the question surely asked for reasoning",)


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(UnknownNameError, match="objective"):
        decide(BOTH, Budget(optimize="speed"), signals(), PROFILE)  # type: ignore[arg-type]


def test_indexing_that_was_done_already_counts_inside_the_total() -> None:
    assert decide(BOTH, Budget(max_total_s=9), signals(), PROFILE, spent_s=0.5).chosen == "full"
    assert decide(BOTH, Budget(max_total_s=9), signals(), PROFILE, spent_s=2).chosen == "rag"
    with pytest.raises(BudgetError):
        decide(BOTH, Budget(max_total_s=9), signals(), PROFILE, spent_s=8)

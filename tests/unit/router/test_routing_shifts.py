"""What must move decisions: a document that is resident, another reader after calibration, a longer document."""

from dataclasses import replace

import pytest
from support.routing import PROFILE, signals

from turnout.engines.fake import FakeEngine
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router import policy
from turnout.router.calibration.quality import Observed, fit
from turnout.router.kinds import KINDS, shares
from turnout.router.profile import ModelProfile
from turnout.router.quality import prior
from turnout.router.signals import Signals
from turnout.router.strategies import build
from turnout.types import Budget

QUESTIONS = (
    "When was the mill built?",
    "Who owned the mill in 1860?",
    "Why did the owner sell the mill?",
    "How do the two mills differ?",
    "Summarize the history of the mill.",
    "What is the main point of the report?",
    "How many workers did the mill have in 1860 compared to 1870?",
    "Does the report discuss the price of flour?",
)
STRATEGIES = build(FakeEngine(), HybridRetriever())


def full_share(profile: ModelProfile, budget: Budget, **changes: object) -> float:
    """Share of questions, over documents of several lengths, that full is chosen for."""
    chosen = []
    for question in QUESTIONS:
        for tokens in (1500, 2500, 4000, 6000):
            at = signals(kinds=shares(question), document_tokens=tokens)
            at = replace(at, **{name: value(at) if callable(value) else value for name, value in changes.items()})
            candidates = [strategy.estimate(at, profile, budget) for strategy in STRATEGIES]
            chosen.append(policy.decide(candidates, budget, at, profile).chosen == "full")
    return sum(chosen) / len(chosen)


def resident(at: Signals) -> int:
    return at.full_tokens - at.question_tokens


@pytest.mark.parametrize("optimize", ["balanced", "latency", "cost"])
def test_a_resident_document_raises_the_share_of_full(optimize: str) -> None:
    budget = Budget(optimize=optimize)  # type: ignore[arg-type]
    assert full_share(PROFILE, budget, resident_tokens=resident) > full_share(PROFILE, budget) + 0.1


def test_resident_within_a_limit_too() -> None:
    budget = Budget(max_ttft_s=1.0)
    assert full_share(PROFILE, budget) == 0
    assert full_share(PROFILE, budget, resident_tokens=resident) > 0.1


def test_another_reader_routes_differently_after_calibration_without_other_code() -> None:
    def reader(full: float, rag: float) -> ModelProfile:
        seen = [
            Observed(f"q{n}", "s", f"d{n}", signals(kinds=shares(QUESTIONS[n % 8])), {"full": full, "rag": rag}, False)
            for n in range(120)
        ]
        return replace(PROFILE, quality=fit(prior(135_000_000), seen))

    weak, strong = reader(full=0.3, rag=0.5), reader(full=0.7, rag=0.5)
    assert full_share(weak, Budget()) < 0.2 < 0.8 < full_share(strong, Budget())


def test_without_signals_the_best_single_strategy_is_taken_for_every_question() -> None:
    shared = {full_share(PROFILE, Budget(), kinds=kinds, document_tokens=4000) for kinds in ((), (float("nan"),) * 5)}
    assert shared == {0.0}, "rag, by the prior, for an average question"
    assert len(KINDS) == 5

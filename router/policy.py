"""The decision: which candidates are inside every limit, and which of those is best for the stated objective."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Sequence

from turnout.contracts import Strategy
from turnout.errors import BudgetError, ConfigurationError, UnknownNameError
from turnout.router import agreement, reasons, series, waiting
from turnout.router.prices import Pricing
from turnout.router.profile import ModelProfile
from turnout.router.quality import QualityModel, prior
from turnout.router.signals import Signals
from turnout.router.strategies import UNPROVEN
from turnout.types import LIMITS, Budget, Candidate, Decision, Exclusion

POLICY = "learned/1"
FORCED = " forced"
TIE = 0.005
"""Expected scores closer than this are one score: the faster candidate wins."""

ALIKE = 0.05
"""Expected scores this close to the best are good enough where speed or cost is asked for."""

BALANCED_PER_DOUBLING = 0.03
"""What `balanced` pays in expected score for an answer in half the time."""

SEARCH_MOVES = 0.03
"""A search moves the expected scores apart by no more than this in nine of ten of LaRA's questions."""

MEMORY_HIGH = 1.06
"""Peak memory over the predicted, at most: 1.05 in benchmarks/results/engine_memory.json."""

TIER = "tier"
NOT_MEASURED = "not measured with this model: taken only where it is asked for by name"

_UNITS = {"max_total_s": "s", "max_ttft_s": "s", "max_prompt_tokens": "tokens", "max_memory_bytes": "bytes"}
OPTIMIZE = ("quality", "balanced", "latency", "cost")


def considered(
    strategies: Sequence[Strategy], signals: Signals, profile: ModelProfile, forced: str | None = None
) -> list[Strategy]:
    """Those that a decision shows: of variants that were never measured with the model only one that is asked for."""
    model = profile.quality or prior(signals.parameters)
    return [
        strategy
        for strategy in strategies
        if ":" not in strategy.name or strategy.name == forced or _is_proven(strategy.name, model)
    ]


def _is_proven(strategy: str, model: QualityModel) -> bool:
    return strategy not in UNPROVEN or model.knows(strategy)


def decide(
    candidates: Sequence[Candidate],
    budget: Budget,
    signals: Signals,
    profile: ModelProfile,
    forced: str | None = None,
    spent_s: float = 0.0,
) -> Decision:
    """Excludes what breaks a limit or is not proven, then picks by name.

    Args:
        profile: what the estimates rest on.
        forced: a strategy that the caller insists on; it must still be inside the limits.
        spent_s: seconds that reading and indexing have taken already; they count inside `max_total_s`.

    Raises:
        UnknownNameError: `forced` is not a candidate.
        BudgetError: nothing is left; the hint names the nearest budget that is possible.
    """
    check(budget)
    model = profile.quality or prior(signals.parameters)
    judged = [_within(_proven(candidate, forced, model), budget, spent_s, signals.pricing) for candidate in candidates]
    if forced is not None and forced not in {candidate.strategy for candidate in judged}:
        raise UnknownNameError("strategy", forced, [candidate.strategy for candidate in judged])
    inside = [c for c in judged if c.excluded_by is None]
    open_ = [c for c in inside if forced in (None, c.strategy)]
    if not open_:
        raise _impossible([c for c in judged if forced in (None, c.strategy)], budget, signals)
    best = _best(series.in_time(open_, signals), budget.optimize, signals.expected_questions)
    why = "asked for by name" if forced else _why(best, budget, signals)
    unit = signals.pricing.currency if budget.optimize == "cost" else ""
    final = tuple(_explained(candidate, best, why, unit) for candidate in judged)
    return Decision(
        id=new_id(),
        chosen=best.strategy,
        policy=f"{budget.optimize} {POLICY}" + (FORCED if forced else ""),
        candidates=tuple(sorted(final, key=lambda c: (not c.chosen, c.excluded_by is not None, c.strategy))),
        budget=budget,
        signals={**signals.record(), "profile": profile.measured, "basis": model.basis},
        because=(
            *reasons.because(model, signals, best, inside),
            *series.told(signals, best, inside),
            *waiting.told(signals),
            *agreement.told(signals),
        ),
        would_flip=(
            *_limits_to_lift(final, signals),
            *reasons.flips(model, signals, best, open_),
            *_questions_to_come(best, open_, budget, signals),
        ),
    )


def noted(decision: Decision, reason: str) -> Decision:
    """The decision with a reason more at the chosen candidate; as it is where there is none."""
    if not reason:
        return decision
    candidates = (
        dataclasses.replace(candidate, reasons=(*candidate.reasons, reason)) if candidate.chosen else candidate
        for candidate in decision
    )
    return dataclasses.replace(decision, candidates=tuple(candidates))


def is_close(decision: Decision) -> bool:
    """Whether what a search shows could still change the choice."""
    scores = [c.quality for c in decision if c.excluded_by is None and c.quality is not None]
    texts = {c.prompt_tokens for c in decision if c.excluded_by is None}
    if len(scores) < 2 or len(texts) < 2 or decision.policy.endswith(FORCED):
        return False
    best, second = sorted(scores, reverse=True)[:2]
    return best - second <= SEARCH_MOVES


def check(budget: Budget) -> None:
    """Refuses a budget that can't be meant: unknown objective, limits that are not positive numbers."""
    if budget.optimize not in OPTIMIZE:
        raise UnknownNameError("objective", budget.optimize, OPTIMIZE)
    for name, value in budget.limits().items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ConfigurationError(
                f"{name} is {value!r}, not a positive number", hint=f"leave {name} out for no limit"
            )
    first, total = budget.max_ttft_s, budget.max_total_s
    if first is not None and total is not None and first > total:
        raise ConfigurationError(
            f"max_ttft_s {first:g} is over max_total_s {total:g}: the first word can't come after the end",
            hint="leave max_ttft_s out, or give max_total_s more",
        )


def new_id() -> str:
    """A short id for answers: easy to type, about 10^12 of them."""
    return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(8))


_WHY = {
    "quality": "highest quality within limits",
    "balanced": "best quality for its time within limits",
    "latency": f"fastest of those within {ALIKE:g} of the best quality",
    "cost": f"cheapest of those within {ALIKE:g} of the best quality",
}


def _why(best: Candidate, budget: Budget, signals: Signals) -> str:
    if budget.optimize == "cost" and best.cost is None:
        return f"fewest prompt tokens of those within {ALIKE:g} of the best quality: {signals.pricing.missing}"
    return _WHY[budget.optimize]


_HIGH = {"total_s": "total_high_s", "ttft_s": "ttft_high_s", "cost": "cost_high"}


def _needed(candidate: Candidate, limit: str) -> float | None:
    """What a limit is held against. Limits are hard: of an interval it is the high end."""
    needed: float | None = getattr(candidate, LIMITS[limit])
    if limit == "max_memory_bytes" and needed is not None:
        return math.ceil(MEMORY_HIGH * needed)
    high = getattr(candidate, _HIGH[LIMITS[limit]]) if LIMITS[limit] in _HIGH else None
    return needed if high is None else high


def _proven(candidate: Candidate, forced: str | None, model: QualityModel) -> Candidate:
    """What was never measured is a risk that nobody takes unasked."""
    if candidate.excluded_by is not None or candidate.strategy == forced or _is_proven(candidate.strategy, model):
        return candidate
    return dataclasses.replace(candidate, excluded_by=Exclusion(TIER, None, None, NOT_MEASURED))


def _within(candidate: Candidate, budget: Budget, spent_s: float, pricing: Pricing) -> Candidate:
    if candidate.excluded_by is not None:
        return candidate
    for limit, allowed in budget.limits().items():
        needed = _needed(candidate, limit)
        if needed is not None and limit == "max_total_s":
            needed += spent_s  # a first ask pays for reading and indexing inside its limit
        if needed is None:
            # An unknown is a risk, never zero: a hard limit can't be promised over it.
            why = pricing.missing if limit == "max_cost" else "not known"
            return dataclasses.replace(candidate, excluded_by=Exclusion(limit, allowed, None, why))
        if needed > allowed:
            return dataclasses.replace(candidate, excluded_by=Exclusion(limit, allowed, needed))
    return candidate


def _best(candidates: Sequence[Candidate], optimize: str, questions: int) -> Candidate:
    """By seconds and cost of one of so many questions over the same documents."""

    def known(value: float | None, worst: float) -> float:
        return worst if value is None else value

    def seconds(c: Candidate) -> float:
        return known(series.mean_seconds(c, questions), math.inf)

    top = max(known(c.quality, 0.0) for c in candidates)
    if optimize == "balanced":
        fastest = min(seconds(c) for c in candidates)
        return max(
            candidates,
            key=lambda c: known(c.quality, 0.0) - BALANCED_PER_DOUBLING * math.log2(seconds(c) / fastest),
        )
    if optimize == "quality":
        return min((c for c in candidates if known(c.quality, 0.0) >= top - TIE), key=seconds)
    alike = [c for c in candidates if known(c.quality, 0.0) >= top - ALIKE]
    if optimize == "latency":
        return min(alike, key=lambda c: known(series.mean_first_word(c, questions), math.inf))
    return min(alike, key=lambda c: (known(series.mean_cost(c, questions), math.inf), known(c.prompt_tokens, math.inf)))


def _questions_to_come(
    best: Candidate, open_: Sequence[Candidate], budget: Budget, signals: Signals
) -> tuple[str, ...]:
    """From how many questions over the same documents on another strategy would be chosen."""
    expected = signals.expected_questions
    counts = {count for each in open_ if (count := series.break_even(each, best)) is not None and count > expected}
    for count in sorted(counts):
        other = _best(open_, budget.optimize, count)
        if other.strategy != best.strategy:
            return (f"{other.strategy} at {count:,} or more questions over these documents",)
    return ()


def _explained(candidate: Candidate, best: Candidate, why: str, unit: str) -> Candidate:
    """Says why a candidate was chosen, or what it has more or less than the chosen one.

    Args:
        unit: of costs, where they are what is compared.
    """
    if candidate.strategy == best.strategy:
        return dataclasses.replace(candidate, chosen=True, reasons=(why, *candidate.reasons))
    if candidate.excluded_by is not None:
        return candidate
    parts = []
    if candidate.quality is not None and best.quality is not None:
        gap = candidate.quality - best.quality
        parts.append("same quality" if abs(gap) < TIE else f"{abs(gap):.2f} {'higher' if gap > 0 else 'lower'}")
    if candidate.ttft_s is not None and best.ttft_s is not None:
        gap = candidate.ttft_s - best.ttft_s
        parts.append(f"{abs(gap):.1f} s {'slower' if gap > 0 else 'faster'} to first word")
    if unit and candidate.cost is not None and best.cost is not None:
        gap = candidate.cost - best.cost
        parts.append(f"{abs(gap):.2g} {unit} {'dearer' if gap > 0 else 'cheaper'}")
    return dataclasses.replace(candidate, reasons=(", ".join(parts), *candidate.reasons))


def _limits_to_lift(candidates: Sequence[Candidate], signals: Signals) -> tuple[str, ...]:
    flips = []
    for candidate in candidates:
        broken = candidate.excluded_by
        if broken is not None and waiting.is_all(broken, candidate, signals):
            flips.append(f"{candidate.strategy} possible where nothing else is being answered")
        if broken is not None and broken.needed is not None:
            flips.append(f"{candidate.strategy} possible at {describe_limit(broken.limit, broken.needed)} or more")
    return tuple(flips)


def describe_limit(limit: str, value: float) -> str:
    """A limit with its unit, for people: "max_ttft_s 2.4", "a window of 41,391"."""
    if limit == "window":
        return f"a window of {value:,.0f} tokens"
    if limit == "memory":
        return f"{value / 2**30:.1f} GiB of free memory"
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"
    return f"{limit} {text}"


def _impossible(candidates: Sequence[Candidate], budget: Budget, signals: Signals) -> BudgetError:
    """The error; it may be retried where only waiting for others breaks a limit."""
    wanted, possible = [], []
    for candidate in candidates:
        broken = candidate.excluded_by
        if broken is None:
            continue
        if broken.allowed is None and broken.needed is None:
            wanted.append(f"{candidate.strategy}: {broken.why}")
            continue
        need = "not known" if broken.needed is None else f"{broken.needed:,.4g}"
        allowed = "" if broken.allowed is None else f" > {broken.allowed:,.4g}"
        wanted.append(f"{candidate.strategy}: {broken.limit} {need}{allowed}{f' ({broken.why})' if broken.why else ''}")
        if broken.limit in LIMITS and broken.needed is not None:
            possible.append((broken.needed / (broken.allowed or 1), broken.limit, broken.needed, candidate))
    broken_by = [candidate.excluded_by for candidate in candidates if candidate.excluded_by is not None]
    if all(broken.allowed is None for broken in broken_by):
        return BudgetError(
            f"no strategy can be used: {'; '.join(wanted)}", hint="ask for another strategy, or for none"
        )
    hint = "shorten the question or the history, or use a model with a larger window"
    if any(broken.limit == "max_cost" and broken.needed is None for broken in broken_by):
        hint = signals.pricing.remedy
    if possible:
        _, limit, _, nearest = min(possible, key=lambda row: row[0])
        needs = {name: _needed(nearest, name) for name in budget.limits()}
        fields = ", ".join(f"{name}={_round_up(name, value)}" for name, value in needs.items() if value is not None)
        hint = f"nearest possible: {nearest.strategy} with {fields} (limit broken: {limit})"
    busy = any(waiting.is_all(c.excluded_by, c, signals) for c in candidates if c.excluded_by is not None)
    if busy:
        hint += ", or ask again when nothing else is being answered"
    return BudgetError(f"no strategy is inside the limits: {'; '.join(wanted)}", hint=hint, retryable=busy)


def _round_up(name: str, value: float) -> str:
    if _UNITS.get(name) == "s":
        return f"{math.ceil(value * 100) / 100:g}"
    return f"{math.ceil(value):d}" if name != "max_cost" else f"{value * 1.01:.3g}"

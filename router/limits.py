"""The caller's limits while a decision is carried out: what ends it, how long it may write, what was kept."""

from __future__ import annotations

from collections.abc import Mapping

from turnout.contracts import Stopper
from turnout.errors import EngineError, EngineTimeoutError
from turnout.router.clock import Clock
from turnout.router.cost import affordable
from turnout.router.options import listed
from turnout.router.request import Machinery, Request
from turnout.router.signals import Signals
from turnout.types import Budget, BudgetResult, Cut, Decision, Finished, GenerationParams, Usage

ENDING_S = 0.05
"""Seconds between an answer's last token and its record: it is ended that much before a limit, and two tokens
earlier."""


def within(
    request: Request, decision: Decision, machinery: Machinery, clock: Clock, stopped: Stopper | None
) -> Stopper:
    """Says whether the caller gave up; raises where a limit in seconds, from now on, is over.

    Raises:
        EngineTimeoutError: `max_total_s` or the caller's time is over.
        EngineError: `max_cost` is over, where costs are seconds.
    """
    begin, own = clock.total_s(), request.decoding.timeout_s
    ends = _ends(request, decision, machinery, clock)

    def check() -> bool:
        if stopped is not None and stopped():
            return True
        for name, (end, allowed) in ends.items():
            if clock.total_s() >= end:
                raise over(name, allowed)
        if own is not None and clock.total_s() - begin > own:
            raise over("timeout_s", own)
        return False

    return check


def over(limit: str, allowed: float) -> EngineError:
    kind, more = (EngineError, "max_cost") if limit == "max_cost" else (EngineTimeoutError, "time")
    return kind(
        f"{limit} {allowed:g} was over before there was an answer",
        hint=f"allow more {more}, or give fewer documents",
    )


def left_s(request: Request, clock: Clock) -> float | None:
    """Seconds of `max_total_s` that are left; None without one."""
    limit = request.budget.max_total_s
    return None if limit is None else limit - clock.total_s() - clock.seconds("index")


def _ends(
    request: Request, decision: Decision, machinery: Machinery, clock: Clock
) -> Mapping[str, tuple[float, float]]:
    """By limit, the second at which it is over, and what the caller allowed. `max_cost` is one of them where costs are
    seconds of this machine."""
    budget, ends = request.budget, {}
    if budget.max_total_s is not None:
        ends["max_total_s"] = budget.max_total_s - clock.seconds("index"), budget.max_total_s
    is_here = decision[decision.chosen].memory_bytes is not None
    if budget.max_cost is not None and is_here and not machinery.pricing.currency:
        ends["max_cost"] = budget.max_cost, budget.max_cost
    return ends


def params(request: Request, decision: Decision, machinery: Machinery, clock: Clock, scanned: int) -> GenerationParams:
    """How to decode: at most the task's new tokens and those that `max_cost` pays for, and no longer than `max_total_s`
    or a `max_cost` in seconds and the caller's time leave."""
    known, chosen, decoding = Signals.from_record(decision.signals), decision[decision.chosen], request.decoding
    ending = ENDING_S + machinery.profile.decode_seconds(min(chosen.prompt_tokens or 0, known.window), 2)
    ends = _ends(request, decision, machinery, clock).values()
    times = [max(end - clock.total_s() - ending, 1e-3) for end, _ in ends]
    return GenerationParams(
        max_tokens=affordable(chosen, request.budget, known, machinery.profile, scanned),
        temperature=decoding.temperature,
        stop=decoding.stop,
        choices=listed(request.question.text) if "choices" in machinery.engine.capabilities else (),
        seed=decoding.seed,
        timeout_s=min(times if decoding.timeout_s is None else [*times, decoding.timeout_s], default=None),
        cache_namespace=request.cache_namespace,
    )


def cut(
    request: Request,
    params: GenerationParams,
    decision: Decision,
    machinery: Machinery,
    clock: Clock,
    finished: Finished,
) -> Cut | None:
    """Which of the caller's limits ended the answer, if one did."""
    if finished.reason == "length" and params.max_tokens < decision.signals["max_new_tokens"]:
        return Cut("max_cost", request.budget.max_cost or 0.0)
    if finished.reason != "timeout":
        return None
    ends = _ends(request, decision, machinery, clock)
    own = request.decoding.timeout_s
    if not ends or params.timeout_s == own:
        return Cut("timeout_s", own or 0.0)
    first = min(ends, key=lambda name: ends[name])
    return Cut(first, ends[first][1])


def kept(budget: Budget, usage: Usage) -> BudgetResult:
    """Which limits the measured figures kept. A first ask pays for its indexing inside `max_total_s`."""
    measured = {
        "max_total_s": usage.total_s + usage.index_s,
        "max_ttft_s": usage.ttft_s,
        "max_prompt_tokens": usage.prompt_tokens,
        "max_cost": usage.cost,
        "max_memory_bytes": usage.peak_memory_bytes,
    }
    limits = budget.limits()
    broken = tuple(name for name, allowed in limits.items() if (measured[name] or 0) > allowed)
    return BudgetResult(limits, not broken, broken)

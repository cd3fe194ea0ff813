"""The caller's limits while a decision is carried out: what ends it, how long it may write, what was kept."""

from __future__ import annotations

from turnout.contracts import Stopper
from turnout.errors import EngineError, EngineTimeoutError
from turnout.router.clock import Clock
from turnout.router.cost import affordable
from turnout.router.options import listed
from turnout.router.request import Machinery, Request
from turnout.router.signals import Signals
from turnout.types import Budget, BudgetResult, Cut, Decision, Finished, GenerationParams, Usage


def within(request: Request, clock: Clock, stopped: Stopper | None) -> Stopper:
    """Says whether the caller gave up; raises EngineTimeoutError where a limit in seconds, from now on, is over."""
    begin, own = clock.total_s(), request.decoding.timeout_s

    def check() -> bool:
        if stopped is not None and stopped():
            return True
        left = left_s(request, clock)
        if left is not None and left <= 0:
            raise over("max_total_s", request.budget.max_total_s or 0.0)
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


def params(request: Request, decision: Decision, machinery: Machinery, clock: Clock, scanned: int) -> GenerationParams:
    """How to decode: at most the task's new tokens and those that `max_cost` pays for, and no longer than `max_total_s`
    and the caller's time leave."""
    known = Signals.from_record(decision.signals)
    left, decoding = left_s(request, clock), request.decoding
    left = None if left is None else max(left, 1e-3)
    return GenerationParams(
        max_tokens=affordable(decision[decision.chosen], request.budget, known, machinery.profile, scanned),
        temperature=decoding.temperature,
        stop=decoding.stop,
        choices=listed(request.question.text) if "choices" in machinery.engine.capabilities else (),
        seed=decoding.seed,
        timeout_s=min((time for time in (left, decoding.timeout_s) if time is not None), default=None),
        cache_namespace=request.cache_namespace,
    )


def cut(request: Request, params: GenerationParams, decision: Decision, finished: Finished) -> Cut | None:
    """Which of the caller's limits ended the answer, if one did."""
    if finished.reason == "length" and params.max_tokens < decision.signals["max_new_tokens"]:
        return Cut("max_cost", request.budget.max_cost or 0.0)
    if finished.reason != "timeout":
        return None
    limit, own = request.budget.max_total_s, request.decoding.timeout_s
    if limit is None or params.timeout_s == own:
        return Cut("timeout_s", own or 0.0)
    return Cut("max_total_s", limit)


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

"""Predicted seconds, bytes and cost of reading a prompt of a given size: the part all strategies share."""

from __future__ import annotations

import math
from collections.abc import Callable

from turnout.router import waiting
from turnout.router.prices import MILLION
from turnout.router.profile import SPREAD, ModelProfile, learned
from turnout.router.quality import Estimate
from turnout.router.signals import Signals
from turnout.types import Budget, Candidate, Exclusion

OUTSIDE_S = {"full": 0.01, "rag": 0.03}
"""Seconds to first word outside the engine before the ledger knows better, from outside_engine_s in
benchmarks/results/predicted_first_word.json, rounded up."""

LENGTHS = (0.3, 1.0, 2.0)
"""Tokens of an answer over the expected, 10th, 50th and 90th percentile, before the ledger knows better: at most twice
the expected are allowed."""

MemoryOf = Callable[[int, int], int | None]


def candidate(
    strategy: str,
    quality: Estimate,
    prompt_tokens: int,
    signals: Signals,
    profile: ModelProfile,
    memory: MemoryOf,
    reasons: tuple[str, ...] = (),
    resident_tokens: int = 0,
    surely_resident_tokens: int | None = None,
    before_s: float = 0.0,
    scanned_tokens: int = 0,
    speedup: float = 1.0,
    before_tokens: tuple[int, int] = (0, 0),
    once_s: float = 0.0,
) -> Candidate:
    """One strategy's estimates, and the model's own limits applied: the window and this machine's memory.

    Args:
        memory: peak bytes of (prompt tokens, new tokens), None where it is not this machine's memory.
        resident_tokens: of the prompt, which need not be read again; where prices are known they are cached ones.
        surely_resident_tokens: those that count at worst; all of them by default.
        before_s: seconds that the strategy takes before the engine begins, until the ledger knows better.
        scanned_tokens: that the model reads in them, to choose what stands in the prompt; where prices are known they
            cost what new tokens of a prompt do.
        speedup: tokens that are written in the time of one.
        before_tokens: (prompt tokens, new tokens) of what it asks the reader before, in prompts no larger.
        once_s: seconds of what is made of these documents for this question and all later ones; the ledger, which sees
            other documents, does not correct them.
    """
    correction = learned(profile.corrections, strategy, signals.task, 1.0)
    outside = once_s + profile.outside_s.get(strategy, OUTSIDE_S.get(strategy, 0.0) + before_s)
    piece = signals.piece_tokens
    prefill = correction * profile.prefill_seconds(prompt_tokens, resident_tokens, piece)
    sure_tokens = resident_tokens if surely_resident_tokens is None else surely_resident_tokens
    slow_prefill = correction * profile.prefill_seconds(prompt_tokens, sure_tokens, piece)
    fast, slow = learned(profile.spreads, strategy, signals.task, SPREAD)
    short, usual, long = written(signals, profile)
    token_s = correction * profile.decode_seconds(min(prompt_tokens, piece or prompt_tokens), 1) / speedup
    # Waiting for others is no part of reading: neither corrections nor the spread of reading are of it.
    wait = waiting.beside(signals, profile, slow_prefill, (short, usual, long))
    soon, later, late = wait.first
    ready, slow_ready = outside + signals.waited_s + prefill, outside + signals.waited_s + slow * slow_prefill
    ttft, ttft_high = ready + later, slow_ready + late
    ttft_low = outside + signals.waited_s + soon + fast * prefill
    total = ttft + token_s * max(usual - 1, 0.0) + wait.whole[1] - later
    total_low = ttft_low + fast * token_s * max(short - 1, 0.0) + wait.whole[0] - soon
    total_high = ttft_high + slow * token_s * max(long - 1, 0.0) + wait.whole[2] - late
    memory_bytes = memory(prompt_tokens, signals.max_new_tokens)
    needed = prompt_tokens + signals.max_new_tokens
    excluded = None
    if needed > signals.window:
        excluded = Exclusion("window", signals.window, needed)
    elif (
        memory_bytes is not None and signals.free_memory_bytes is not None and memory_bytes > signals.free_memory_bytes
    ):
        excluded = Exclusion("memory", signals.free_memory_bytes, memory_bytes)
    if resident_tokens:
        was = "were" if sure_tokens == resident_tokens else "are probably still there that were"
        reasons += (f"{resident_tokens:,} of {prompt_tokens:,} prompt tokens {was} read before",)

    def cost(new_tokens: float, seconds: float, resident: int, scanned: float = 1.0) -> float | None:
        # Without prices the unit is this machine's seconds; a server's seconds are not ours to count.
        here = seconds if memory_bytes is not None else None
        read = prompt_tokens + before_tokens[0] + round(scanned * scanned_tokens)
        return signals.pricing.cost(read, resident, new_tokens + before_tokens[1], here)

    unmeasured = () if profile.measured or profile.corrections else ("times are a guess: nothing measured yet",)
    return Candidate(
        strategy=strategy,
        quality=round(quality.quality, 4),
        quality_low=round(quality.low, 4),
        quality_high=round(quality.high, 4),
        ttft_s=ttft,
        total_s=total,
        ttft_low_s=ttft_low,
        ttft_high_s=ttft_high,
        total_low_s=total_low,
        total_high_s=total_high,
        prompt_tokens=prompt_tokens + before_tokens[0],
        memory_bytes=memory_bytes,
        cost=cost(usual, total, resident_tokens),
        cost_low=cost(short, total_low, resident_tokens, SPREAD[0]),
        cost_high=cost(long, total_high, sure_tokens, SPREAD[1]),
        excluded_by=excluded,
        reasons=reasons + unmeasured,
        scanned_tokens=scanned_tokens,
        late_s=(late, wait.whole[2]),
    )


def written(signals: Signals, profile: ModelProfile) -> tuple[float, float, float]:
    """Tokens of an answer: 10th, 50th and 90th percentile. They follow from what is asked, whatever is read for it."""
    short, usual, long = (
        min(share * signals.expected_new_tokens, float(signals.max_new_tokens))
        for share in profile.lengths.get(signals.task, LENGTHS)
    )
    return short, usual, long


def affordable(chosen: Candidate, budget: Budget, signals: Signals, profile: ModelProfile, scanned: int = 0) -> int:
    """New tokens that an answer may get: as many as are allowed, and no more than `max_cost` pays for.

    Args:
        scanned: tokens that the model has read to choose what stands in the prompt.
    """
    price, limit, high = signals.pricing.output, budget.max_cost, chosen.cost_high
    if limit is None or high is None or not price:
        return signals.max_new_tokens
    high += (scanned - SPREAD[1] * chosen.scanned_tokens) * (signals.pricing.input or 0.0) / MILLION
    *_, long = written(signals, profile)
    return min(signals.max_new_tokens, max(math.floor(long + (limit - high) * MILLION / price), 1))

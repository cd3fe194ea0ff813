"""Predicted seconds, tokens and bytes of reading a prompt of a given size: the part all strategies share."""

from __future__ import annotations

from collections.abc import Callable

from turnout.router.profile import ModelProfile
from turnout.router.quality import Estimate
from turnout.router.signals import Signals
from turnout.types import Candidate, Exclusion

OUTSIDE_S = {"full": 0.01, "rag": 0.03}
"""Seconds to first word outside the engine before the ledger knows better, from outside_engine_s in
benchmarks/results/predicted_first_word.json, rounded up."""

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
) -> Candidate:
    """One strategy's estimates, and the model's own limits applied: the window and this machine's memory.

    Args:
        memory: peak bytes of (prompt tokens, new tokens), None where it is not this machine's memory.
        resident_tokens: of the prompt, which need not be read again.
    """
    correction = profile.corrections.get(strategy, 1.0)
    outside = profile.outside_s.get(strategy, OUTSIDE_S.get(strategy, 0.0))
    ttft = outside + correction * profile.prefill_seconds(prompt_tokens, resident_tokens)
    decode = correction * profile.decode_seconds(prompt_tokens, max(signals.expected_new_tokens - 1, 0))
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
        reasons += (f"{resident_tokens:,} of {prompt_tokens:,} prompt tokens were read before",)
    unmeasured = () if profile.measured or profile.corrections else ("times are a guess: nothing measured yet",)
    return Candidate(
        strategy=strategy,
        quality=round(quality.quality, 4),
        quality_low=round(quality.low, 4),
        quality_high=round(quality.high, 4),
        ttft_s=ttft,
        total_s=ttft + decode,
        prompt_tokens=prompt_tokens,
        memory_bytes=memory_bytes,
        # Until a price is known the unit of cost is this machine's seconds; a server's seconds are not ours to count.
        cost=ttft + decode if memory_bytes is not None else None,
        excluded_by=excluded,
        reasons=reasons + unmeasured,
    )

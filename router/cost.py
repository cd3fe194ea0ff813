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

SPREAD = (0.75, 1.25)
"""Measured over predicted engine seconds, 10th and 90th percentile, before the ledger knows better; rounded outwards
from measured_over_predicted in benchmarks/results/predicted_first_word.json."""

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
) -> Candidate:
    """One strategy's estimates, and the model's own limits applied: the window and this machine's memory.

    Args:
        memory: peak bytes of (prompt tokens, new tokens), None where it is not this machine's memory.
        resident_tokens: of the prompt, which need not be read again.
    """
    correction = profile.corrections.get(strategy, 1.0)
    outside = profile.outside_s.get(strategy, OUTSIDE_S.get(strategy, 0.0))
    prefill = correction * profile.prefill_seconds(prompt_tokens, resident_tokens)
    fast, slow = profile.spreads.get(strategy, SPREAD)
    short, usual, long = profile.lengths.get(strategy, LENGTHS)

    def writing(share: float) -> float:
        """Seconds after the first token of an answer of so many times the expected tokens."""
        tokens = min(share * signals.expected_new_tokens, signals.max_new_tokens)
        return correction * profile.decode_seconds(prompt_tokens, 1) * max(tokens - 1, 0.0)

    ttft = outside + prefill
    ttft_low, ttft_high = outside + fast * prefill, outside + slow * prefill
    total = ttft + writing(usual)
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
        total_s=total,
        ttft_low_s=ttft_low,
        ttft_high_s=ttft_high,
        total_low_s=ttft_low + fast * writing(short),
        total_high_s=ttft_high + slow * writing(long),
        prompt_tokens=prompt_tokens,
        memory_bytes=memory_bytes,
        # Until a price is known the unit of cost is this machine's seconds; a server's seconds are not ours to count.
        cost=total if memory_bytes is not None else None,
        excluded_by=excluded,
        reasons=reasons + unmeasured,
    )

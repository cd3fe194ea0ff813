"""Signals and candidates for router tests, with sensible figures that a test overrides."""

from __future__ import annotations

from typing import Any

from turnout.router.kinds import KINDS
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.types import Candidate

PROFILE = ModelProfile(
    per_token_s=0.0005, per_pair_s=1e-7, token_s=0.03, token_per_context_s=1e-5, measured="2026-11-22"
)


def signals(**changes: Any) -> Signals:
    figures: dict[str, Any] = {
        "task": "location",
        "question_tokens": 12,
        "overhead_tokens": 60,
        "document_tokens": 4000,
        "documents": 1,
        "segments": 18,
        "window": 8192,
        "max_new_tokens": 48,
        "expected_new_tokens": 24,
        "parameters": 135_000_000,
        "counts_exact": True,
        "free_memory_bytes": 8 * 2**30,
        "kinds": (0.6, 0.2, 0.05, 0.05, 0.1),
    }
    figures |= changes
    figures.setdefault("full_tokens", figures["overhead_tokens"] + figures["document_tokens"])
    return Signals(**figures)


def surely(kind: str) -> tuple[float, ...]:
    """The shares of a question whose kind is known."""
    return tuple(float(name == kind) for name in KINDS)


def candidate(strategy: str, **changes: Any) -> Candidate:
    figures: dict[str, Any] = {
        "quality": 0.6,
        "quality_low": 0.5,
        "quality_high": 0.7,
        "ttft_s": 1.0,
        "total_s": 2.0,
        "prompt_tokens": 1000,
        "memory_bytes": 2**30,
        "cost": 2.0,
    }
    figures |= changes
    for name in ("ttft", "total"):  # without an interval of their own, estimates are certain
        figures.setdefault(f"{name}_low_s", figures[f"{name}_s"])
        figures.setdefault(f"{name}_high_s", figures[f"{name}_s"])
    return Candidate(strategy, **figures)

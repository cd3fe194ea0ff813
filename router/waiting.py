"""How long a question waits for an engine that has other requests, and what is said of it."""

from __future__ import annotations

from statistics import median

from turnout.engines.in_flight import Load
from turnout.router.cost import SPREAD
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.types import Exclusion

SEEN_S = 0.1
"""Waits below this show as 0.0 or 0.1 seconds and are not told."""

WRITTEN = 0.5
"""Share of the tokens which an answer may get that it is expected to get, as `questions.new_tokens` has it."""

Seconds = tuple[float, float, float]
"""10th, 50th and 90th percentile."""


def ahead(load: Load | None, profile: ModelProfile) -> Seconds:
    """Seconds before an engine begins with a new request.

    One that does its requests in turn finishes the others first: it reads what is unread and writes their answers. Of
    one that may do them side by side nobody outside knows: at best it begins at once; expected is that it first reads
    the prompts that came before, as servers do that batch; at worst it writes those answers too. The requests count as
    if they were alike, and as fast as this model is with prompts that it has not read before.
    """
    others = 0 if load is None else load.waiting + load.running
    if load is None or not others:
        return (0.0, 0.0, 0.0)
    correction = median(profile.corrections.values()) if profile.corrections else 1.0
    reading = 0.0
    if load.waiting:
        reading = correction * load.waiting * profile.prefill_seconds(load.unread_tokens // load.waiting)
    writing = correction * profile.decode_seconds(load.prompt_tokens // others, load.unwritten_tokens)
    most = SPREAD[1] * (reading + writing)
    return (reading, reading + WRITTEN * writing, most) if load.in_turn else (0.0, reading, most)


def is_all(broken: Exclusion, signals: Signals) -> bool:
    """Whether nothing but waiting for others breaks a limit."""
    if broken.needed is None or broken.allowed is None or broken.limit not in ("max_ttft_s", "max_total_s"):
        return False
    return broken.needed > broken.allowed >= broken.needed - signals.waited_s - signals.wait_s[2]


def told(signals: Signals) -> tuple[str, ...]:
    """What waiting does to the seconds of every candidate; nothing where it does nothing."""
    lines = []
    if signals.waited_s >= SEEN_S:
        lines.append(f"waited {signals.waited_s:.1f} s for its turn, which count in every first word and total")
    low, middle, high = signals.wait_s
    if signals.load is not None and high >= SEEN_S:
        waiting, running = signals.load.waiting, signals.load.running
        lines.append(
            f"the engine has others before it ({waiting} waiting, {running} running): every first word about "
            f"{middle:.1f} s later ({low:.1f} to {high:.1f})"
        )
    return tuple(lines)

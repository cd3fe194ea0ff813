"""How long a question waits for an engine that has other requests, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from turnout.engines.in_flight import Load
from turnout.engines.scheduler.shares import SHARED
from turnout.router.profile import SPREAD, ModelProfile
from turnout.router.signals import Signals
from turnout.types import Candidate, Exclusion

SEEN_S = 0.1
"""Waits below this show as 0.0 or 0.1 seconds and are not told."""

WRITTEN = 0.5
"""Share of the tokens which an answer may get that it is expected to get, as `questions.new_tokens` has it."""

Seconds = tuple[float, float, float]
"""10th, 50th and 90th percentile."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds that others add to the first word of an answer, and to the whole of it."""

    first: Seconds
    whole: Seconds


def ahead(load: Load | None, profile: ModelProfile) -> Seconds:
    """Seconds before an engine begins with a new request.

    One that does its requests in turn finishes the others first: it reads what is unread and writes their answers. Of
    one that may do them side by side nobody outside knows: at best it begins at once; expected is that it first reads
    the prompts that came before, as servers do that batch; at worst it writes those answers too. The requests count as
    if they were alike, and as fast as this model is with prompts that it has not read before.

    For one that reads prompts side by side this is what a longer prompt than all of theirs would wait; see `beside`.
    """
    others = 0 if load is None else load.waiting + load.running
    if load is None or not others:
        return (0.0, 0.0, 0.0)
    reading, writing = _left(load, profile)
    most = SPREAD[1] * (reading + writing)
    return (reading, reading + WRITTEN * writing, most) if load.in_turn else (0.0, reading, most)


def beside(signals: Signals, profile: ModelProfile, read_s: float, written: Seconds) -> Wait:
    """What others add to one candidate.

    An engine that reads prompts side by side gives half of a step to the one that came first and the rest to those that
    are done soonest (`scheduler.shares`). So while a prompt is read, the first takes as much again; before it come only
    those others that are shorter. Expected is that the others are alike; at worst each but the first is a little
    shorter. Between two steps every answer that is being written gets a token, in one pass. The step that is going on
    is done first. What is unread of the others when this prompt is done is read on between the tokens of this answer.

    Args:
        read_s: seconds that its prompt takes alone.
        written: tokens of its answer: 10th, 50th and 90th percentile.
    """
    load = signals.load
    if load is None or not load.step_tokens:
        return Wait(signals.wait_s, signals.wait_s)
    reading, writing = _left(load, profile)
    step_s = _correction(profile) * profile.per_token_s * load.step_tokens
    pass_s = writing / load.unwritten_tokens if load.running and load.unwritten_tokens else 0.0
    each = reading / max(load.waiting, 1)
    shorter = reading - each if read_s > each else 0.0
    expected = shorter + min(reading - shorter, read_s + shorter)
    most = min(reading, max(2 * load.waiting - 1, 0) * read_s)

    def passes(seconds: float, share: float) -> float:
        """Of the others' answers, while a prompt is read for so long."""
        return min(pass_s * seconds / step_s if step_s else 0.0, share * writing)

    alone = load.waiting + load.running == 1
    going_s = (SHARED * step_s if alone else step_s) if load.waiting else pass_s
    low = expected
    middle = going_s / 2 + expected + passes(read_s + expected, WRITTEN)
    high = SPREAD[1] * (going_s + most + passes(read_s + most, 1.0))
    short, usual, long = (min(step_s * max(tokens - 1, 0.0), reading - expected) for tokens in written)
    return Wait((low, middle, high), (low + short, middle + usual, high + SPREAD[1] * long))


def _left(load: Load, profile: ModelProfile) -> tuple[float, float]:
    """Seconds to read what others have unread, and to write all that their answers may still get, one after the
    other."""
    reading = 0.0
    if load.waiting:
        reading = load.waiting * profile.prefill_seconds(load.unread_tokens // load.waiting)
    each = load.prompt_tokens // max(load.waiting + load.running, 1)
    writing = profile.decode_seconds(each, load.unwritten_tokens)
    return _correction(profile) * reading, _correction(profile) * writing


def _correction(profile: ModelProfile) -> float:
    return median(profile.corrections.values()) if profile.corrections else 1.0


def is_all(broken: Exclusion, candidate: Candidate, signals: Signals) -> bool:
    """Whether nothing but waiting for others breaks a limit."""
    if broken.needed is None or broken.allowed is None or broken.limit not in ("max_ttft_s", "max_total_s"):
        return False
    first, whole = candidate.late_s
    late = first if broken.limit == "max_ttft_s" else whole
    return broken.needed > broken.allowed >= broken.needed - signals.waited_s - late


def told(signals: Signals) -> tuple[str, ...]:
    """What waiting does to the seconds of every candidate; nothing where it does nothing."""
    lines = []
    if signals.waited_s >= SEEN_S:
        lines.append(f"waited {signals.waited_s:.1f} s for its turn, which count in every first word and total")
    low, middle, high = signals.wait_s
    if signals.load is not None and high >= SEEN_S:
        waiting, running = signals.load.waiting, signals.load.running
        others = f"({waiting} waiting, {running} running)"
        if signals.load.step_tokens:
            lines.append(
                f"the engine has others beside it {others}: a first word comes later by about as long as its own "
                f"prompt takes to read, at most about {high:.1f} s"
            )
        else:
            lines.append(
                f"the engine has others before it {others}: every first word about {middle:.1f} s later "
                f"({low:.1f} to {high:.1f})"
            )
    return tuple(lines)

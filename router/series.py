"""Several questions over the same documents: what a strategy takes for all of them, and from how many on it pays.

Reading everything is dear once and cheap afterwards, where the engine keeps what it has read; so are soft tokens and
keys and values of segments. A candidate therefore bears its seconds and cost now and those of a later question, and
where more questions are expected it is compared by the mean over all of them.

How many are to come is what the caller says, or else as many again as were asked over the same documents lately: of
something that is watched at a random moment, the median of what is left is what has been (Gott, Nature 363, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from turnout.errors import ConfigurationError
from turnout.router.signals import Signals
from turnout.types import Candidate

SEEN = 0.05
"""Seconds below this show as 0.0 or 0.1."""

MOST_LATELY = 50
"""Most questions that are expected because as many were asked."""


def check(expected: int | None) -> None:
    """Refuses a number of questions that can't be meant.

    Raises:
        ConfigurationError: it is no whole number above 0.
    """
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int) or expected < 1):
        raise ConfigurationError(
            f"expected_questions is {expected!r}", hint="give how many are to come over these documents, 1 or more"
        )


def expected(said: int | None, lately: int) -> int:
    """Questions that are to come over the same documents, this one included."""
    return said if said is not None else 1 + min(lately, MOST_LATELY)


def after_the_first(signals: Signals) -> Signals:
    """The signals of a later question like this one: what strategies keep of the documents is there, and nobody is in
    the way."""
    resident, sure = signals.resident_tokens, signals.surely_resident_tokens
    if signals.keeps:
        resident = max(resident, signals.full_tokens - signals.overhead_tokens)
        sure = None
    alone = replace(signals, waited_s=0.0, load=None, wait_s=(0.0, 0.0, 0.0))
    return replace(alone, resident_tokens=resident, surely_resident_tokens=sure, soft_missing=0, kv_missing=0)


def with_later(candidate: Candidate, later: Candidate) -> Candidate:
    """A candidate with what a later question takes by the same strategy."""
    return replace(candidate, later_s=later.total_s, later_cost=later.cost)


def seconds(candidate: Candidate, questions: int) -> float | None:
    """Of so many questions together; None where it is not known."""
    return _together(candidate.total_s, candidate.later_s, questions)


def mean_seconds(candidate: Candidate, questions: int) -> float | None:
    """Of one of so many questions."""
    found = seconds(candidate, questions)
    return None if found is None else found / questions


def mean_first_word(candidate: Candidate, questions: int) -> float | None:
    """Seconds to the first word, of one of so many questions: what later ones save they save before it."""
    mean = mean_seconds(candidate, questions)
    if candidate.ttft_s is None or mean is None or candidate.total_s is None:
        return candidate.ttft_s
    return candidate.ttft_s - (candidate.total_s - mean)


def mean_cost(candidate: Candidate, questions: int) -> float | None:
    """Of one of so many questions."""
    found = _together(candidate.cost, candidate.later_cost, questions)
    return None if found is None else found / questions


def _together(now: float | None, later: float | None, questions: int) -> float | None:
    return now if now is None or later is None else now + (questions - 1) * later


def break_even(dear: Candidate, cheap: Candidate) -> int | None:
    """The number of questions from which on one strategy takes less time for all of them than another; None where it
    never does, or where that is not known. 1 where it is the faster one at once."""
    now, later, other, other_later = dear.total_s, dear.later_s, cheap.total_s, cheap.later_s
    if now is None or later is None or other is None or other_later is None:
        return None
    if now < other:
        return 1
    saved = other_later - later
    if saved <= 0:
        return None
    return math.floor((now - other) / saved) + 2


def in_time(candidates: Sequence[Candidate], signals: Signals) -> list[Candidate]:
    """Those that leave time for the questions to come, where there is a limit for all of them; where none does, the one
    that takes least in all, since some answers are better than none."""
    left = signals.left_s
    if left is None:
        return list(candidates)
    number = signals.expected_questions
    together = [(seconds(candidate, number), candidate) for candidate in candidates]
    kept = [candidate for needed, candidate in together if needed is None or needed <= left]
    if kept:
        return kept
    return [min(together, key=lambda pair: math.inf if pair[0] is None else pair[0])[1]]


def told(signals: Signals, best: Candidate, inside: Sequence[Candidate]) -> tuple[str, ...]:
    """What the number of questions does to the decision; nothing where one is expected, or where nobody said how many
    and later ones take no less."""
    number = signals.expected_questions
    if number < 2 or (signals.from_lately and not any(map(_saves, inside))):
        return ()
    said = f", as many again as were asked lately ({signals.asked_lately})" if signals.from_lately else ""
    lines = [f"{number:,} questions over these documents are expected{said}"]
    lines += [pays for pays in (_pays(each, best, inside) for each in inside) if pays]
    if signals.left_s is not None and (needed := seconds(best, number)) is not None:
        lines.append(f"{best.strategy} takes about {needed:.1f} s for all of them, of {signals.left_s:.1f} s left")
    return tuple(lines)


def _saves(candidate: Candidate) -> bool:
    """Whether a later question takes less, by what can be seen."""
    now, later = candidate.total_s, candidate.later_s
    return now is not None and later is not None and now - later >= SEEN


def _pays(dear: Candidate, best: Candidate, inside: Sequence[Candidate]) -> str:
    """From which question on a strategy takes less time than the one that is fastest now."""
    quickest = min(inside, key=lambda each: math.inf if each.total_s is None else each.total_s)
    count = break_even(dear, quickest)
    if dear is quickest or count is None or count < 2:
        return ""
    return (
        f"{dear.strategy} takes less time than {quickest.strategy} from the {ordinal(count)} question on: "
        f"{_first_and_later(dear)}, against {_first_and_later(quickest)}"
    )


def _first_and_later(candidate: Candidate) -> str:
    return f"{candidate.total_s:.1f} s and then {candidate.later_s:.1f} s each"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"

"""Why a decision is as it is, in words with figures: what moved the strategies apart, and what would flip it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from turnout.router.kinds import KINDS
from turnout.router.quality import FACTS, QualityModel
from turnout.router.signals import Signals
from turnout.types import Candidate

SHOWN = 4
"""Most contributions that are told, the largest first."""

SEEN = 0.005
"""Contributions below this show as 0.00 and are not told."""

_KIND_WORDS = {
    "location": "asks for one place",
    "reasoning": "asks for reasoning",
    "comparison": "asks for a comparison",
    "summarisation": "asks about the whole",
    "unanswerable": "may not be in the text",
}


def because(model: QualityModel, signals: Signals, best: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """What the chosen strategy's expected score has over that of the next best, largest part first.

    Args:
        candidates: those inside all limits.
    """
    other = _next(best, candidates)
    if other is None:
        return ()
    if _same(best, other):
        return (f"{other.strategy} would read the same text",)
    if not model.knows(best.strategy):
        return ()  # one that was asked for by name before it was measured: nothing moved it
    at = model.columns(signals)
    apart = model.gain(best.strategy, at) - model.gain(other.strategy, at)
    kinds, lengths, facts = np.split(apart, [len(KINDS), 2 * len(KINDS)])
    parts = [(gain, _KIND_WORDS[kind]) for kind, gain in zip(KINDS, kinds, strict=True)]
    parts += [(float(lengths.sum()), f"at {signals.fill:.0%} of the window")]
    parts += list(zip(facts, FACTS, strict=True))
    told = sorted((part for part in parts if abs(part[0]) >= SEEN), key=lambda part: -abs(part[0]))[:SHOWN]
    lines = [f"{best.strategy} against {other.strategy}: {', '.join(f'{why} {gain:+.2f}' for gain, why in told)}"]
    if model.search and signals.search is not None:
        found = signals.search
        lines.append(
            f"searched: best match {found.peak:.2f}, it holds {found.words:.0%} of the question's words, "
            f"{found.missing:.0%} are nowhere in the text"
        )
    return tuple(lines) if told else tuple(lines[1:])


def flips(model: QualityModel, signals: Signals, best: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """What would have made the next best strategy the better one: the likeliest kind of question with which it would
    be expected to score higher, or else how much it lacks."""
    other = _next(best, candidates)
    if other is None or other.quality is None or best.quality is None or _same(best, other):
        return ()
    order = np.argsort([-share for share in signals.kinds], kind="stable")
    for number in order:
        surely = replace(signals, kinds=tuple(float(place == number) for place in range(len(KINDS))))
        if model.expected(other.strategy, surely).quality > model.expected(best.strategy, surely).quality:
            return (f"{other.strategy} if the question surely {_FLIP_WORDS[KINDS[number]]}",)
    return (f"{other.strategy} if it were expected to score {best.quality - other.quality:.2f} more",)


_FLIP_WORDS = {
    "location": "asked for one place",
    "reasoning": "asked for reasoning",
    "comparison": "asked for a comparison",
    "summarisation": "asked about the whole",
    "unanswerable": "had no answer in the text",
}


def _next(best: Candidate, candidates: Sequence[Candidate]) -> Candidate | None:
    others = [candidate for candidate in candidates if candidate.strategy != best.strategy]
    return max(others, key=lambda candidate: candidate.quality or 0.0, default=None)


def _same(best: Candidate, other: Candidate) -> bool:
    """Where documents are short, strategies read the same text and are expected to score the same."""
    return best.quality == other.quality and best.prompt_tokens == other.prompt_tokens

"""What reading and writing costs with a model: measured over the whole window and several times, where the first use
of a model takes two seconds for it (`turnout.engines.probe`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np

from turnout.contracts import Engine
from turnout.engines.local import LocalEngine
from turnout.engines.probe import CostSamples, measure, measure_by_asking
from turnout.errors import ConfigurationError
from turnout.router.profile import ModelProfile, fit, fit_whole

SMALLEST = 256
MARGIN = 128
"""Of the window, for the template and the new tokens."""


def sizes(engine: Engine, most: int | None) -> list[int]:
    """256, 512, ... prompt tokens, up to the largest that fits and is wanted."""
    room = min(engine.model.window - MARGIN, most or engine.model.window)
    if room < 2 * SMALLEST:
        raise ConfigurationError(
            f"costs can't be told from prompts of up to {room:,} tokens", hint=f"allow at least {2 * SMALLEST:,}"
        )
    return [SMALLEST << step for step in range((room // SMALLEST).bit_length())]


def run(
    engine: Engine, most: int | None, repeats: int, progress: Callable[[int, int], None]
) -> tuple[ModelProfile, list[CostSamples]]:
    """The costs of an engine, and what they were fitted to.

    Args:
        most: prompt tokens of the longest prompt; the window by default.
        progress: told of the tokens read and all there are to read.
    """
    asked = [] if isinstance(engine, LocalEngine) else sizes(engine, most)
    each = sum(asked) or min(engine.model.window, most or engine.model.window)
    read = 0

    def told(tokens: int) -> None:
        nonlocal read
        read += tokens
        progress(min(read, each * repeats), each * repeats)

    found = [
        measure(engine, float("inf"), most, told)
        if isinstance(engine, LocalEngine)
        else measure_by_asking(engine, asked, told)
        for _ in range(repeats)
    ]
    progress(each * repeats, each * repeats)
    if not any(samples.prefill for samples in found):
        raise ConfigurationError(
            f"{engine.model.name} gave no token to measure", hint="it may answer with nothing: ask it something first"
        )
    together = CostSamples(
        [chunk for samples in found for chunk in samples.prefill],
        [step for samples in found for step in samples.decode],
        found[0].load_s,
    )
    return (fit if isinstance(engine, LocalEngine) else fit_whole)(together), found


def report(profile: ModelProfile, found: Sequence[CostSamples]) -> dict[str, Any]:
    """What was measured beside what the fitted curves say, for prompts and new tokens.

    Returns:
        `prefill` (tokens, median seconds, fitted seconds) and `decode` (context, the same for one new token), and
        `off`: 10th, 50th and 90th percentile of measured over fitted seconds of all prompts.
    """
    prompts: defaultdict[int, list[float]] = defaultdict(list)
    for samples in found:
        for tokens, seconds in _prompts(samples):
            prompts[tokens].append(seconds)
    steps: defaultdict[int, list[float]] = defaultdict(list)
    for samples in found:
        for context, seconds in samples.decode:
            steps[context].append(seconds)
    ratios = [each / profile.prefill_seconds(tokens) for tokens, seen in prompts.items() for each in seen]
    return {
        "prefill": [_beside("tokens", at, seen, profile.prefill_seconds(at)) for at, seen in sorted(prompts.items())],
        "decode": [_beside("context", at, seen, profile.decode_seconds(at, 1)) for at, seen in sorted(steps.items())],
        "off": dict(zip(("p10", "p50", "p90"), np.percentile(ratios, [10, 50, 90]).round(3).tolist(), strict=True)),
        "repeats": len(found),
    }


def _prompts(samples: CostSamples) -> list[tuple[int, float]]:
    """(tokens, seconds) of prompts: a chunked one gives one at each doubling of its chunks."""
    if all(offset == 0 for offset, _, _ in samples.prefill):
        return [(tokens, seconds) for _, tokens, seconds in samples.prefill]
    ends = [offset + tokens for offset, tokens, _ in samples.prefill]
    seconds = list(accumulate(seconds for _, _, seconds in samples.prefill))
    doubled = [place for place in range(len(ends)) if (place + 1).bit_count() == 1 or place == len(ends) - 1]
    return [(ends[place], seconds[place]) for place in doubled]


def _beside(name: str, at: int, seen: Sequence[float], fitted: float) -> dict[str, float]:
    return {name: at, "seconds": round(median(seen), 5), "fitted": round(fitted, 5)}

"""Which sizes fit a model and its filler, and what measuring them will take."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.contracts import Engine
from turnout.errors import ConfigurationError
from turnout.router.calibration.filler import Count
from turnout.router.calibration.synthetic import SMALLEST, filler_of
from turnout.router.calibration.tasks import KINDS, PHRASINGS, ask, draw_facts
from turnout.router.calibration.window import NEW_TOKENS, Design
from turnout.router.profile import ModelProfile
from turnout.types import Context, Part, Span

LARGEST = 8192
"""Where sizes end unless the caller asks for more."""

_ANSWER_TOKENS = 10


def overhead_tokens(engine: Engine) -> int:
    """Prompt tokens besides the document, for the longest question."""
    source = random.Random(0)  # noqa: S311
    groups = draw_facts(source)
    questions = [ask(kind, phrasing, groups[0], groups, source).question for kind in KINDS for phrasing in PHRASINGS]
    empty = (Part("", Span("synthetic", 0, 0)),)
    longest = max(engine.count(Context(empty, question)) for question in questions)
    # Other names are a few tokens longer, and a server counts in its own way.
    return longest + (16 if engine.count_is_exact else 64)


def largest_size(engine: Engine) -> int:
    """Document tokens that leave room for question and answer in the window."""
    room = engine.model.window - overhead_tokens(engine) - NEW_TOKENS
    return room if engine.count_is_exact else int(0.95 * room)


def choose_sizes(
    largest: int,
    texts: Sequence[str],
    count: Count,
    *,
    sizes: Sequence[int] = (),
    max_size: int | None = None,
    must_fill: bool = True,
) -> tuple[int, ...]:
    """The sizes asked for, or 256, 512, ... to the largest possible one.

    Args:
        largest: what the window has room for.
        max_size: the largest of the default sizes; of `sizes`, larger ones are left out.
        must_fill: texts too short for the largest size are an error; otherwise the sizes end where the texts do.

    Raises:
        ConfigurationError: a size is too small, over the window, or longer than the texts.
    """
    if sizes:
        wanted = tuple(sorted({size for size in sizes if max_size is None or size <= max_size}))
    else:
        wanted = _geometric(min(max_size or LARGEST, largest))
    top = max([*wanted, max_size or 0])
    if top > largest:
        raise ConfigurationError(
            f"documents of {top:,} tokens do not fit: the window has room for {largest:,}",
            hint=f"at most --max-size {largest}",
        )
    # Some is lost to cutting, and sentences count more tokens apart than together.
    capacity = int(0.95 * filler_of(texts).capacity(count, 2 * top))
    if capacity < top and (must_fill or sizes or max_size):
        raise ConfigurationError(
            f"the filler texts have {capacity:,} tokens, documents of {top:,} are asked for",
            hint=f"give longer texts with --texts, or --max-size {capacity}",
        )
    if capacity < top:
        wanted = _geometric(capacity)
    if len(wanted) < 2:
        raise ConfigurationError(
            f"sizes {', '.join(map(str, wanted)) or 'none'}: two at least are needed to compare",
            hint=f"texts and window have room for documents of {SMALLEST} to {min(largest, capacity):,} tokens",
        )
    return wanted


def _geometric(largest: int) -> tuple[int, ...]:
    """256, 512, ... and `largest` last; the one before it is left out where it is nearly as large."""
    sizes = []
    size = SMALLEST
    while size * 5 // 4 <= largest:
        sizes.append(size)
        size *= 2
    return (*sizes, largest) if largest >= SMALLEST else ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a design will take; `seconds` is None where the engine was never measured."""

    prompts: int
    prompt_tokens: int
    seconds: float | None


def estimate(design: Design, overhead: int, profile: ModelProfile, *, reads_once: bool = False) -> Estimate:
    """Prompts, tokens and seconds.

    Args:
        overhead: prompt tokens besides the document.
        reads_once: the engine reads a document once for all its questions.
    """
    questions = len(design.kinds) * design.questions
    tokens, seconds = 0, 0.0
    for _, size, _ in design.places():
        reads = 1 if reads_once else questions
        tokens += reads * size + questions * overhead
        # After a shared reading a question costs its own tokens, and each of them the attention to the whole.
        more = profile.prefill_seconds(size + overhead) - profile.prefill_seconds(size) if reads_once else 0.0
        one = profile.prefill_seconds(size if reads_once else size + overhead)
        answers = questions * (more + profile.decode_seconds(size, _ANSWER_TOKENS))
        seconds += reads * one + answers
    return Estimate(questions * len(design.places()), tokens, seconds if profile.measured else None)

"""Which sizes fit a model and its filler, and what measuring them will take."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from turnout.contracts import AsksInWords, Engine
from turnout.documents import Span
from turnout.errors import ConfigurationError
from turnout.router.calibration.filler import Count
from turnout.router.calibration.state import Place
from turnout.router.calibration.synthetic import SMALLEST, filler_of
from turnout.router.calibration.tasks import KINDS, PHRASINGS, ask, draw_facts
from turnout.router.calibration.window import NEW_TOKENS, Design
from turnout.router.profile import ModelProfile
from turnout.types import Context, Part

LARGEST = 8192
"""Where sizes end unless the caller asks for more."""

_TWO_SIZES = SMALLEST * 5 // 4
"""Tokens from which on the default sizes are two."""

_ANSWER_TOKENS = 10

UNLIKE = 1.15
"""By how much texts with many short sentences exceed others in their numbers."""


def overhead_tokens(engine: Engine) -> int:
    """Prompt tokens besides the document, for the longest question."""
    source = random.Random(0)  # noqa: S311
    facts = draw_facts(source)
    questions = [ask(kind, phrasing, facts, 0, source).question for kind in KINDS for phrasing in PHRASINGS]
    empty = (Part("", Span("synthetic", 0, 0)),)
    longest = max(engine.count(Context(empty, question)) for question in questions)
    # Other names are a few tokens longer, and a server counts in its own way.
    return longest + (16 if engine.count_is_exact else 64)


def largest_size(engine: Engine, texts: Sequence[str]) -> int:
    """Document tokens that leave room for question and answer in the window.

    Args:
        texts: the filler; numbers of its sentences take room too, where the engine's prompts have them.
    """
    room = engine.model.window - overhead_tokens(engine) - NEW_TOKENS
    if isinstance(engine, AsksInWords) and engine.prompt_format.numbers:
        room = int(room / (_share_with_numbers(engine, texts) * UNLIKE))
    return room if engine.count_is_exact else int(0.95 * room)


def _share_with_numbers(engine: Engine, texts: Sequence[str]) -> float:
    """Prompt tokens for each token of a text as long as the window."""
    sample = "\n\n".join(texts)[: 4 * engine.model.window]
    empty, whole = (engine.count(Context((Part(text, Span("synthetic", 0, 0)),), "")) for text in ("", sample))
    return (whole - empty) / max(engine.count_text(sample), 1)


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
        ConfigurationError: a size is too small, over the window, or longer than the texts, or one size is left.
    """
    if sizes and min(sizes) < SMALLEST:
        raise ConfigurationError(
            f"documents of {min(sizes):,} tokens have no room for the facts and text around them",
            hint=f"sizes begin at {SMALLEST}",
        )
    if sizes:
        wanted = tuple(sorted({size for size in sizes if max_size is None or size <= max_size}))
        top = max(wanted, default=SMALLEST)
    else:
        wanted = _geometric(min(max_size or LARGEST, largest))
        top = max([*wanted, max_size or 0])
    if top > largest:
        raise ConfigurationError(
            f"documents of {top:,} tokens do not fit: the window has room for {largest:,}",
            hint=_smaller(largest, named=bool(sizes)) or "take a model with a larger window",
        )
    if len(wanted) < 2:
        leaves = "--sizes and --max-size leave" if sizes else f"up to {min(max_size or LARGEST, largest):,} tokens are"
        raise _too_few(wanted, leaves)
    # Some is lost to cutting, and sentences count more tokens apart than together.
    capacity = int(0.95 * filler_of(texts).capacity(count, 2 * top))
    if capacity < top and (must_fill or sizes or max_size):
        hints = ("give longer texts with --texts", _smaller(capacity, named=bool(sizes)))
        raise ConfigurationError(
            f"the filler texts have {capacity:,} tokens, documents of {top:,} are asked for",
            hint=", or ".join(filter(None, hints)),
        )
    if capacity < top:
        wanted = _geometric(capacity)
        if len(wanted) < 2:
            raise _too_few(wanted, f"in filler of {capacity:,} tokens are")
    return wanted


def _smaller(room: int, *, named: bool) -> str:
    """How to ask for what there is room for, "" where that is too little for two sizes."""
    if named:
        return f"sizes up to {room}" if room > SMALLEST else ""
    return f"at most --max-size {room}" if room >= _TWO_SIZES else ""


def _too_few(sizes: Sequence[int], leaves: str) -> ConfigurationError:
    shown = ", ".join(f"{size:,}" for size in sizes) or "none"
    return ConfigurationError(
        f"two sizes at least are needed to compare; {leaves}: {shown}",
        hint=f"the default sizes need room for {_TWO_SIZES} tokens, sizes given with --sizes begin at {SMALLEST}",
    )


def _geometric(largest: int) -> tuple[int, ...]:
    """256, 512, ... and `largest` last; the one before it is left out where it is nearly as large."""
    sizes = []
    size = SMALLEST
    while size * _TWO_SIZES // SMALLEST <= largest:
        sizes.append(size)
        size *= 2
    return (*sizes, largest) if largest >= SMALLEST else ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left to do of a design; `seconds` is None where the engine was never measured. `kept` prompts are
    answered already."""

    prompts: int
    prompt_tokens: int
    seconds: float | None
    kept: int


def estimate(
    design: Design,
    overhead: int,
    profile: ModelProfile,
    *,
    reads_once: bool = False,
    known: Collection[Place] = (),
) -> Estimate:
    """Prompts, tokens and seconds.

    Args:
        overhead: prompt tokens besides the document.
        reads_once: the engine reads a document once for all its questions.
        known: places whose answers are kept already.
    """
    questions = len(design.kinds) * design.questions
    left = [size for seed, size, index in design.places() if (seed, size, index) not in known]
    tokens = sum((1 if reads_once else questions) * size + questions * overhead for size in left)
    work = weights(design, overhead, profile, reads_once=reads_once)
    seconds = sum(work[size] for size in left) if profile.measured else None
    return Estimate(questions * len(left), tokens, seconds, questions * (len(design.places()) - len(left)))


def weights(design: Design, overhead: int, profile: ModelProfile, *, reads_once: bool = False) -> dict[int, float]:
    """Size -> seconds that a document of it takes; 1 for every size where the engine was never measured."""
    if not profile.measured:
        return dict.fromkeys(design.sizes, 1.0)
    return {size: _seconds(size, design, overhead, profile, reads_once=reads_once) for size in design.sizes}


def _seconds(size: int, design: Design, overhead: int, profile: ModelProfile, *, reads_once: bool) -> float:
    questions = len(design.kinds) * design.questions
    whole = profile.prefill_seconds(size + overhead)
    decode = profile.decode_seconds(size, _ANSWER_TOKENS)
    if not reads_once:
        return questions * (whole + decode)
    # After a shared reading a question costs its own tokens, and each of them the attention to the whole.
    document = profile.prefill_seconds(size)
    return document + questions * (whole - document + decode)

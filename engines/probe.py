"""Measures what reading and writing tokens costs: one chunked prefill with a few new tokens on the way, or, where the
model runs elsewhere, prompts of growing length."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout.contracts import Engine
from turnout.engines.loading import Sequence
from turnout.engines.local import LocalEngine
from turnout.engines.prompt import CLOSED_BOOK_TASK
from turnout.errors import MemoryLimitError
from turnout.types import Context, Finished, GenerationParams

if TYPE_CHECKING:
    from turnout.engines.paged.sequence import KvSequence

DECODE_STEPS = 4

FAR = 16
"""What is read far ahead begins at most so many times as far as was read."""


@dataclass(frozen=True, slots=True)
class CostSamples:
    """What was measured.

    Attributes:
        prefill: (tokens already read, tokens in this chunk, seconds) of each chunk.
        decode: (tokens in the context, seconds for one more).
        load_s: seconds to load the model; about 0 where it was loaded before.
    """

    prefill: list[tuple[int, int, float]]
    decode: list[tuple[int, float]]
    load_s: float


def measure(
    engine: LocalEngine,
    budget_s: float = 2.0,
    most: int | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
) -> CostSamples:
    """Reads made-up tokens until the time is over or the window is full; at least two chunks where they fit. Where the
    time is over first, one chunk more is read far ahead, as if all before it had been: what attention costs there can't
    be told from short prompts. New tokens are written after the first chunk, each time that the context has doubled,
    and at the end.

    Args:
        budget_s: seconds for reading, without loading and decoding.
        most: tokens to read at most; the window by default.
        progress: called with the tokens of each chunk.
    """
    begin = time.perf_counter()
    engine.open()
    load_s = time.perf_counter() - begin
    sequence = engine.sequence()
    # Which tokens they are does not change the cost; a seed keeps two runs alike.
    source = random.Random(0)  # noqa: S311
    room = min(engine.model.window, most or engine.model.window)
    room -= DECODE_STEPS * (2 + max(room // engine.chunk, 1).bit_length())
    chunk = min(engine.chunk, max((room - DECODE_STEPS) // 2, 1))
    prefill: list[tuple[int, int, float]] = []
    decode: list[tuple[int, float]] = []
    read_s = 0.0
    while sequence.length + chunk <= room and (len(prefill) < 2 or read_s < budget_s):
        offset = sequence.length
        seconds = _timed(sequence, [source.randrange(engine.vocabulary) for _ in range(chunk)], is_prompt=True)
        prefill.append((offset, chunk, seconds))
        read_s += seconds
        progress(chunk)
        if not decode or sequence.length >= 2 * decode[-1][0]:
            decode.append(_decode(sequence))
    decode.append(_decode(sequence))
    far = min(room - chunk, FAR * sequence.length) // chunk * chunk
    if far >= 2 * sequence.length and not isinstance(sequence, Sequence):
        with suppress(MemoryLimitError):  # what does not fit is not read here anyway
            sequence.pretend(far - sequence.length)
            seconds = _timed(sequence, [0] * chunk, is_prompt=True)
            prefill.append((far, chunk, seconds))
            decode.append(_decode(sequence))
            progress(chunk)
    sequence.close(keep=False)
    return CostSamples(prefill, decode, load_s)


def _decode(sequence: Sequence | KvSequence) -> tuple[int, float]:
    context = sequence.length
    # The fastest step: whatever else the machine did meanwhile is not the model's cost.
    least = min(_timed(sequence, [0]) for _ in range(DECODE_STEPS))
    if not isinstance(sequence, Sequence):
        sequence.truncate(context)  # chunks begin where those of a prompt do
    return context, least


def _timed(sequence: Sequence | KvSequence, ids: list[int], *, is_prompt: bool = False) -> float:
    begin = time.perf_counter()
    logits = sequence.append(ids) if isinstance(sequence, Sequence) else sequence.append(ids, is_prompt=is_prompt)
    # Reading the result waits for the device.
    float(logits[0, 0])
    return time.perf_counter() - begin


ANSWER_TOKENS = 32
"""New tokens asked of an engine that is measured from outside."""


def measure_by_asking(
    engine: Engine, sizes: Many[int], progress: Callable[[int], None] = lambda tokens: None
) -> CostSamples:
    """As `measure`, of an engine whose inside is not at hand: one prompt of made-up words for each size, read as a
    whole; a server that is paid by the token is paid for them.

    Args:
        sizes: about how many tokens each prompt has.
        progress: called with the tokens of each prompt.

    Raises:
        EngineError: as `Engine.generate`.
    """
    begin = time.perf_counter()
    engine.open()
    load_s = time.perf_counter() - begin
    prefill: list[tuple[int, int, float]] = []
    decode: list[tuple[int, float]] = []
    # Not seeded: what an earlier measurement left in a server's cache shall not be found.
    words = _words(random.SystemRandom())
    for size in sizes:
        text = " ".join(next(words) for _ in range(size * 3 // 5))
        begin = time.perf_counter()
        params = GenerationParams(max_tokens=ANSWER_TOKENS)
        *_, last = engine.generate(Context((), f"Go on with this list: {text}", task=CLOSED_BOOK_TASK), params)
        seconds = time.perf_counter() - begin
        if isinstance(last, Finished) and last.first_token_s is not None:
            prefill.append((0, last.prompt_tokens - last.cached_tokens, last.first_token_s))
            if last.completion_tokens > 1:
                decode.append((last.prompt_tokens, (seconds - last.first_token_s) / (last.completion_tokens - 1)))
        progress(size)
    return CostSamples(prefill, decode, load_s)


def _words(source: random.Random) -> Iterator[str]:
    syllables = ("ba", "do", "ke", "li", "mu", "na", "pi", "ro", "sa", "tu")
    while True:
        yield "".join(source.choices(syllables, k=2))

"""Measures what reading and writing tokens costs here: one chunked prefill, with a few new tokens at both ends."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout.engines.loading import Sequence
from turnout.engines.local import LocalEngine

if TYPE_CHECKING:
    from turnout.engines.paged.sequence import KvSequence

DECODE_STEPS = 4


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


def measure(engine: LocalEngine, budget_s: float = 2.0) -> CostSamples:
    """Reads made-up tokens until the time is over or the window is full; at least two chunks where they fit.

    Args:
        budget_s: seconds for reading, without loading and decoding.
    """
    begin = time.perf_counter()
    engine.open()
    load_s = time.perf_counter() - begin
    sequence = engine.sequence()
    # Which tokens they are does not change the cost; a seed keeps two runs alike.
    source = random.Random(0)  # noqa: S311
    room = engine.model.window - 2 * DECODE_STEPS
    chunk = min(engine.chunk, max((room - DECODE_STEPS) // 2, 1))
    prefill: list[tuple[int, int, float]] = []
    decode: list[tuple[int, float]] = []
    read_s = 0.0
    while sequence.length + chunk <= room and (len(prefill) < 2 or read_s < budget_s):
        offset = sequence.length
        seconds = _timed(sequence, [source.randrange(engine.vocabulary) for _ in range(chunk)])
        prefill.append((offset, chunk, seconds))
        read_s += seconds
        if not decode:
            decode.append(_decode(sequence))
    decode.append(_decode(sequence))
    sequence.close(keep=False)
    return CostSamples(prefill, decode, load_s)


def _decode(sequence: Sequence | KvSequence) -> tuple[int, float]:
    context = sequence.length
    # The fastest step: whatever else the machine did meanwhile is not the model's cost.
    return context, min(_timed(sequence, [0]) for _ in range(DECODE_STEPS))


def _timed(sequence: Sequence | KvSequence, ids: list[int]) -> float:
    begin = time.perf_counter()
    # Reading the result waits for the device.
    float(sequence.append(ids)[0, 0])
    return time.perf_counter() - begin

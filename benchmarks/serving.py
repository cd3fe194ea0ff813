"""The local engine while several ask it: a short question beside a long prompt, and eight answers at once.

    python benchmarks/serving.py [MODEL_FOLDER] [--tokens N] [--repeats N]

A long prompt is read alone, and with a short question that comes when a tenth, three, five, seven and nine tenths of it
are read. Reported are the seconds to the short question's first token, from when it was asked, and by how much the long
prompt's own first token came later than alone. Then eight questions are asked one after the other and at once, of texts
of their own and of one document, and everything counts from the first question to the last answer. No prompt was read
before. The order of the sides turns, and every side is measured as often.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import results_file
import torch

from turnout.config import DEFAULT_MODEL, Settings
from turnout.documents import Span
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.types import Context, Finished, GenerationParams, Part, Prefilled

SEED = 1
PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHORT = GenerationParams(max_tokens=24)
EIGHT = GenerationParams(max_tokens=64)
MOST_FIRST_TOKEN_S, MOST_SLOWED = 1.0, 0.25
"""What is aimed at, on two cores."""


def main(folder: Path, tokens: int, repeats: int) -> None:
    engine = LocalEngine(folder, lookup=False)
    engine.open()
    figures: dict[str, Any] = {
        "model": folder.name,
        "dtype": engine.dtype,
        "int8": engine.int8,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "short_beside_long": beside(engine, tokens, repeats),
        "eight_answers": {
            "texts of 256 tokens": eight(engine, [asked(engine, 256, f"text {n}") for n in range(8)], repeats),
            f"one document of {tokens // 2:,} tokens": eight(
                engine, [asked(engine, tokens // 2, "document", f"What is number {n}?") for n in range(8)], repeats
            ),
        },
    }
    engine.close()
    results_file.write("serving", SEED, figures)


def asked(engine: LocalEngine, tokens: int, name: str, question: str = "What is this about?") -> Context:
    """A question over a text of about so many tokens, no two of whose lines are alike."""
    lines: list[str] = []
    step = max(tokens // 64, 1)
    while engine.count_text("".join(lines)) < tokens:
        lines += [f"Line {at} of {name} says {at * 7919 % 10007}.\n" for at in range(len(lines), len(lines) + step)]
    text = "".join(lines)
    return Context((Part(text, Span(name, 0, len(text))),), question, task="summarisation")


def beside(engine: LocalEngine, tokens: int, repeats: int) -> dict[str, Any]:
    """A short question that comes while a long prompt is read."""
    long, short = asked(engine, tokens, "a long document"), asked(engine, 64, "a note")
    alone, slowed, first = [], [], []
    for turn in range(repeats):
        for place in PLACES[:: 1 if turn % 2 else -1]:
            alone.append(first_token_s(engine, long))
            own, others = both(engine, long, short, place)
            slowed.append(own)
            first.append(others)
    share = statistics.median(slowed) / statistics.median(alone) - 1
    return {
        "prompt_tokens": engine.count(long),
        "short_prompt_tokens": engine.count(short),
        "short_new_tokens": SHORT.max_tokens,
        "first_token_s_of_short": results_file.spread(first),
        "first_token_s_of_long_alone": results_file.spread(alone),
        "first_token_s_of_long_beside": results_file.spread(slowed),
        "slowed_by": share,
        "is_as_wanted": statistics.median(first) <= MOST_FIRST_TOKEN_S and share <= MOST_SLOWED,
    }


def both(engine: LocalEngine, long: Context, short: Context, place: float) -> tuple[float, float]:
    """(first_token_s of the long prompt, that of the short one), which comes when so much of the long one is read."""
    reached = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first_token_s, engine, long, cold(GenerationParams(max_tokens=1)), reached, place)
        reached.wait()
        others = first_token_s(engine, short, cold(SHORT))
        return running.result(), others


def first_token_s(
    engine: LocalEngine,
    context: Context,
    params: GenerationParams | None = None,
    reached: threading.Event | None = None,
    place: float = 1.0,
) -> float:
    """Of an answer that is read to its end; `reached` is set when so much of its prompt is read."""
    found = 0.0
    try:
        for event in engine.generate(context, params or cold(GenerationParams(max_tokens=1))):
            if reached is not None and isinstance(event, Prefilled) and event.done >= place * event.total:
                reached.set()
            if isinstance(event, Finished):
                found = event.first_token_s or 0.0
    finally:
        if reached is not None:
            reached.set()
    return found


def cold(params: GenerationParams) -> GenerationParams:
    """Finds nothing that was read before."""
    return GenerationParams(params.max_tokens, cache_namespace=uuid.uuid4().hex)


def eight(engine: LocalEngine, contexts: Sequence[Context], repeats: int) -> dict[str, Any]:
    """New tokens a second of several answers one after the other and at once, with their reading."""
    rates: dict[str, list[float]] = {"one by one": [], "at once": []}
    for turn in range(repeats):
        for way in sorted(rates, reverse=bool(turn % 2)):
            params = cold(EIGHT)
            started = time.perf_counter()
            with ThreadPoolExecutor(len(contexts) if way == "at once" else 1) as pool:
                written = sum(pool.map(lambda context, params=params: new_tokens(engine, context, params), contexts))
            rates[way].append(written / (time.perf_counter() - started))
    medians = {way: statistics.median(values) for way, values in rates.items()}
    return {
        **{way: results_file.spread(values) for way, values in rates.items()},
        "ratio": medians["at once"] / medians["one by one"],
    }


def new_tokens(engine: LocalEngine, context: Context, params: GenerationParams) -> int:
    """Tokens of an answer."""
    *_, last = engine.generate(context, params)
    return last.completion_tokens if isinstance(last, Finished) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=7000, help="of the long prompt")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    default = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(default.resolve(), given.tokens, given.repeats)

"""Soft tokens beside the text itself: positions, keys and values, and seconds to the first token, by length.

    python benchmarks/soft_speed.py [MODEL_FOLDER] [--soft mean:2|mean:4|DIR] [--lengths 1000,2000,...] [--repeats N]

For each length the same text is read in eight ways, whose order turns with every repeat, by one engine that has
forgotten everything but what the way says: `full` cold; `full_again`, with its keys and values kept (another question
after the same text); `soft` with its soft tokens kept; `soft_again`, with keys and values kept too; `soft_cold`, which
makes them first; `ape` with the keys and values of its segments in the segment cache, `ape_again` with them in place,
`ape_cold`, which reads the segments first. `crossover_tokens` is the shortest length at which a cold way is no slower
than `full`, if there is one; the rows of `lengths` are its plot (benchmarks/plot_soft_speed.py draws it). A kept prefix
serves prompts that begin with the same text, and takes `kv_bytes`; what the segment cache keeps serves every selection
and order of documents, and takes `soft_bytes` or `ape_bytes`. Texts are the development data's (../shared/data/dev).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dev_data
import results_file
import torch

from turnout.compression.memory_cache import MemoryCache
from turnout.config import DEFAULT_MODEL, DEFAULT_SOFT, Settings
from turnout.contracts import Strategy
from turnout.documents import Text
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.retrieval.convert import convert_text
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.segment import segment
from turnout.router.questions import read
from turnout.router.strategies.full import Full
from turnout.router.strategies.soft import Soft
from turnout.router.strategies.soft_ape import SoftApe
from turnout.types import Budget, Finished, GenerationParams, Question

SEED = 1
DATASET = "squality"
QUESTIONS = ("What is this text about?", "Who is named first?")
CACHE_BYTES = 1 << 30
ONE = GenerationParams(max_tokens=1)

Measured = tuple[float, Finished]
"""Seconds to the first token, preparing included, and what the engine said."""


def main(folder: Path, soft: str, lengths: list[int], repeats: int) -> None:
    dev_data.require()
    engine = LocalEngine(folder, soft=soft)
    engine.open()
    kind = engine.soft_kind()
    text = "\n\n".join(document["text"] for document in dev_data.documents(DATASET).values())
    rows = [measured(engine, cut(engine, text, length), repeats) for length in lengths]
    crossover = {
        way: min((row["document_tokens"] for row in rows if _median(row, way) <= _median(row, "full")), default=None)
        for way in ("soft_cold", "ape_cold")
    }
    results_file.write(
        "soft_speed",
        SEED,
        {
            "model": folder.name,
            "dtype": engine.dtype,
            "threads": torch.get_num_threads(),
            "kind": kind.name,
            "rate": kind.rate,
            "repeats": repeats,
            "lengths": rows,
            "crossover_tokens": crossover,
        },
    )


def measured(engine: LocalEngine, text: str, repeats: int) -> dict[str, Any]:
    """Of one text: what each way reads, and its seconds to the first token, preparing included."""
    document = convert_text(Text(text))
    corpus = Corpus([document], segment(document))
    soft_cache, ape_cache = MemoryCache(CACHE_BYTES), MemoryCache(CACHE_BYTES)
    full, soft, ape = Full(engine), Soft(engine, soft_cache), SoftApe(engine, ape_cache)
    first, other = (read(question, [], engine.count_text) for question in QUESTIONS)

    def run(strategy: Strategy, question: Question = first) -> Measured:
        begin = time.perf_counter()
        context = strategy.prepare(question, corpus, Budget())
        (*_, finished) = engine.generate(context, ONE)
        return time.perf_counter() - begin, finished

    def again(strategy: Strategy) -> Measured:
        run(strategy, other)
        return run(strategy)

    def cold(strategy: Strategy, cache: MemoryCache) -> Measured:
        cache.clear()
        return run(strategy)

    def warm(strategy: Strategy) -> Measured:
        strategy.prepare(first, corpus, Budget())
        return run(strategy)

    ways: dict[str, Callable[[], Measured]] = {
        "full": lambda: run(full),
        "full_again": lambda: again(full),
        "soft": lambda: warm(soft),
        "soft_again": lambda: again(soft),
        "soft_cold": lambda: cold(soft, soft_cache),
        "ape": lambda: warm(ape),
        "ape_again": lambda: again(ape),
        "ape_cold": lambda: cold(ape, ape_cache),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tokens: dict[str, int] = {}
    for repeat in range(repeats):
        names = list(ways)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            engine.forget()
            took, finished = ways[name]()
            seconds[name].append(took)
            tokens[name] = finished.prompt_tokens
    return {
        "document_tokens": engine.count_text(text),
        "segments": len(corpus.segments),
        "prompt_tokens": {name: tokens[name] for name in ("full", "soft", "ape")},
        "kv_bytes": {name: engine.admission.footprint.cache(tokens[name]) for name in ("full", "soft", "ape")},
        "soft_bytes": soft_cache.statistics().bytes,
        "ape_bytes": ape_cache.statistics().bytes,
        "first_token_s": {name: results_file.spread(values) for name, values in seconds.items()},
    }


def cut(engine: LocalEngine, text: str, tokens: int) -> str:
    """About so many tokens of a text."""
    piece = text[: 8 * tokens]
    while (have := engine.count_text(piece)) > tokens:
        piece = piece[: len(piece) * tokens // have]
    return piece


def _median(row: dict[str, Any], way: str) -> float:
    median: float = row["first_token_s"][way]["median"]
    return median


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Soft tokens beside the text itself.")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--soft", default=DEFAULT_SOFT)
    parser.add_argument("--lengths", default="1000,2000,4000,7000")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    where = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(where, given.soft, [int(length) for length in given.lengths.split(",")], given.repeats)

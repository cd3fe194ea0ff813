"""Whether sliding over long texts by attention finds a fact at every depth, in flat memory (InfiniRetri, arXiv
2502.12962).

    python benchmarks/needles.py [--model smollm2-135m] [--tokens 32768] [--questions 20] [--layer L]
        [--retriever attention|chunkfree] [--minutes M]

Running text (../shared/data/haystack) of --tokens with one fact in it, at --questions evenly spaced depths, each with
another text and another fact. It counts as found where it is among what would be read (`rag`'s passage budget). Rows
are kept in runs/ one by one; --minutes ends a run between two of them, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import dev_data
import psutil
import results_file
from tqdm import tqdm

from turnout.config import NO_ADAPTER, Settings
from turnout.contracts import Retriever
from turnout.documents import Document
from turnout.engines import open_engine
from turnout.engines.local import LocalEngine
from turnout.progress import Watch
from turnout.retrieval.attention import AttentionRetriever
from turnout.retrieval.chunkfree import ChunkFreeRetriever
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import in_document_order
from turnout.router.calibration.filler import read_texts
from turnout.router.calibration.synthetic import filler_of, make_document
from turnout.router.strategies.rag import PASSAGE_TOKENS, PASSAGES

SEED, SMALL = 1, 1024
RUNS = Path(__file__).parents[1] / "runs"


@dataclass(frozen=True, slots=True)
class Hidden:
    text: str
    question: str
    fact: str


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    settings = Settings.load(model=given.model, adapter=NO_ADAPTER)
    engine = open_engine(settings)
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{settings.model} is no local model: only those read by themselves")
    name = f"needles_{given.retriever}_{Path(settings.model).name}_{given.tokens}"
    RUNS.mkdir(exist_ok=True)
    layer = given.layer if given.layer is not None else "middle"
    state = RUNS / f"{name}_{given.questions}_{layer}.jsonl"
    rows = results_file.rows(state)
    retriever: Retriever = (
        AttentionRetriever(engine, layer=given.layer) if given.retriever == "attention" else ChunkFreeRetriever(engine)
    )
    retriever.warm(Corpus([], []))
    until = time.monotonic() + 60 * given.minutes
    for number, hidden in enumerate(tqdm(haystacks(engine, given.tokens, given.questions), total=given.questions)):
        if number < len(rows):
            continue
        if time.monotonic() > until:
            break
        rows.append({"depth": depth(number, given.questions)} | looked_for(engine, retriever, number, hidden))
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    if not rows:
        raise SystemExit("nothing was measured: allow more --minutes")
    figures = {
        "model": engine.model.name,
        "retriever": given.retriever,
        "tokens": given.tokens,
        "layer": layer,
        "depths": given.questions,
        "measured": len(rows),
        "found": sum(row["found"] for row in rows) / len(rows),
        "first": sum(row["first"] for row in rows) / len(rows),
        "seconds": results_file.spread([row["seconds"] for row in rows]),
        "rss_bytes": results_file.spread([row["rss_bytes"] for row in rows]),
        "rows": rows,
    }
    results_file.write(name, SEED, figures)


def looked_for(engine: LocalEngine, retriever: Retriever, number: int, hidden: Hidden) -> dict[str, Any]:
    corpus = Corpus([Document(f"hay{number}", "hay", hidden.text, "hay.txt", "text")], [])
    watch = Watch()
    started = time.perf_counter()
    passages = retriever.retrieve(hidden.question, corpus, PASSAGES, watch)
    seconds = time.perf_counter() - started
    read = in_document_order(
        passages, corpus, lambda parts: sum(engine.count_text(part.text) for part in parts) <= PASSAGE_TOKENS
    )
    engine.forget()
    return {
        "found": any(hidden.fact in part.text for part in read),
        "first": bool(passages) and hidden.fact in passages[0].text,
        "read_tokens": sum(engine.count_text(part.text) for part in read),
        "scanned_tokens": watch.read_tokens,
        "seconds": round(seconds, 2),
        "rss_bytes": psutil.Process().memory_info().rss,
    }


def haystacks(engine: LocalEngine, tokens: int, depths: int) -> Iterator[Hidden]:
    """Running text with one fact of a small document in it, at evenly spaced depths."""
    filler = filler_of(read_texts(dev_data.DATA / "haystack/texts.jsonl.gz"))
    for number in range(depths):
        made = make_document(
            filler, engine.count_text, size=SMALL, seed=SEED, index=number, kinds=("needle",), questions=1
        )
        (trial,) = made.trials
        (fact,) = trial.facts
        hay = filler.draw(Random(number), engine.count_text, tokens - engine.count_text(fact))  # noqa: S311
        hay.insert(round(len(hay) * depth(number, depths)), f"{fact} ")
        yield Hidden("".join(hay), trial.question, fact)


def depth(number: int, depths: int) -> float:
    return round(number / max(depths - 1, 1), 3)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--questions", type=int, default=20, help="depths")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--retriever", choices=["attention", "chunkfree"], default="attention")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

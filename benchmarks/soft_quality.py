"""What half the tokens are worth: soft tokens beside the whole text, and beside other ways to read half of it.

    python benchmarks/soft_quality.py MODEL [--soft DIR] [--questions N | --set dev150] [--ways full,mean,...]

The same reader, without any adapter, answers every question over its documents in these ways:

    full         the text itself
    truncation   half of its tokens, from the beginning and the end
    extract      the sentences that match the question best, up to half of its tokens
    mean         soft tokens, the mean of two embeddings each: nothing is trained
    soft         soft tokens made with the weights of --soft; left out without
    soft:ape     keys and values of segments that were read each by itself; with --ape 1x1,0.8x0.9 at these temperatures
                 and scales besides, as soft:ape@1x1

Asked are questions whose documents fit the window whole, so that every way answers the same ones. Scores are those of
`turnout eval run`, with 95% intervals over documents, of all data sets and of each task, and paired differences to
`full`. Every row is cold: soft tokens, keys and values are made for it. Goes on where it was stopped: rows are kept in
runs/.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import compression_curves as curves
import dev_data
import results_file
from compression_curves import Kept, Way

from turnout import Turnout
from turnout.compression.extractive import Extractive
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.selection import Target
from turnout.contracts import Engine, Strategy
from turnout.parts import Parts
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router.evaluation import inputs
from turnout.router.strategies.soft import Soft
from turnout.router.strategies.soft_ape import SoftApe
from turnout.types import Budget, Context, Question

SEED = 1
SHARE = 0.5
CACHE_BYTES = 2 << 30
AROUND = 400
"""Tokens that a prompt and an answer may have besides the documents."""


class Prepared(Way):
    """A strategy as it is, from a cache that knows nothing."""

    def __init__(self, name: str, engine: Engine, strategy: Strategy, cache: MemoryCache) -> None:
        super().__init__(name, engine, lambda question, corpus, watch: Kept(()))
        self._strategy, self._cache = strategy, cache

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        self._cache.clear()
        started = time.perf_counter()
        context = self._strategy.prepare(question, corpus, budget, watch)
        keep_s = time.perf_counter() - started
        without = Context((), question.text, question.history, question.task)
        kept = self._engine.count(context) - self._engine.count(without)
        self.noted = {"keep_s": keep_s, "spared_s": 0.0, "spared_tokens": 0, "kept_tokens": kept}
        return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--soft", metavar="DIR", help="folder that `turnout train soft` wrote")
    parser.add_argument("--set", default="dev150")
    parser.add_argument("--questions", type=int, help="per dataset, instead of a set")
    parser.add_argument("--ape", default="", metavar="TxS,...", help="temperatures and scales of soft:ape to compare")
    parser.add_argument("--ways", default="full,truncation,extract,mean,soft,soft:ape")
    given = parser.parse_args()
    dev_data.require()
    asked = inputs.load(
        [dev_data.DATA / "dev/questions"],
        [dev_data.DATA / "dev/documents"],
        lambda bad: print(bad),
        limit=given.questions,
        question_set=None if given.questions else given.set,
        seed=SEED,
    )
    apes = [f"soft:ape@{pair}" for pair in given.ape.split(",") if pair]
    wanted = [*(name for name in given.ways.split(",") if name != "soft" or given.soft), *apes]
    chosen = f"{given.questions}each" if given.questions else Path(given.set).stem
    rows: dict[tuple[str, str], Any] = {}
    for soft in ("mean:2", given.soft) if given.soft else ("mean:2",):
        with Turnout(model=given.model, adapter="none", soft=soft, log="off") as t:
            parts = t._opened()
            name = parts.engine.model.full_name.rpartition("/")[2]
            fitting = _fitting(parts, asked)
            ways = [way for way in _ways(parts, apes, trained=soft == given.soft) if way.name in wanted]
            rows |= curves.measured(parts, fitting, ways, curves.RUNS / f"soft_quality_{name}_{chosen}.jsonl")
    figures = {
        "model": name,
        "soft": given.soft and Path(given.soft).name,
        "set": chosen,
        "asked": len(asked.items),
        "fit_the_window": len(fitting.items),
        "all": curves.summary(fitting.items, rows, wanted, "full"),
        "tasks": {
            task: curves.summary([item for item in fitting.items if item.task == task], rows, wanted, "full")
            for task in sorted({item.task for item in fitting.items})
        },
    }
    results_file.write(f"soft_quality_{name}_{chosen}", SEED, figures)


def _fitting(parts: Parts, asked: inputs.Inputs) -> inputs.Inputs:
    """The questions whose documents fit the window whole."""
    window = parts.engine.model.window
    tokens = {name: parts.engine.count_text(document.text) for name, document in asked.documents.items()}
    items = tuple(
        item
        for item in asked.items
        if sum(tokens[name] for name in item.doc_ids) + asked.new_tokens[item.id] + AROUND <= window
    )
    if not items:
        raise SystemExit("no question has documents that fit the window; nothing was measured")
    return dataclasses.replace(asked, items=items)


def _ways(parts: Parts, apes: Sequence[str], *, trained: bool) -> Iterator[Way]:
    engine, cache = parts.engine, MemoryCache(CACHE_BYTES)
    if trained:
        yield Prepared("soft", engine, Soft(engine, cache), cache)
        return
    yield Way("full", engine, lambda question, corpus, watch: Kept(whole(corpus)))
    yield Way("truncation", engine, _half(engine, curves._truncated))
    yield Way("extract", engine, _half(engine, lambda engine, most: _extracted(parts, most)))
    yield Prepared("mean", engine, Soft(engine, cache), cache)
    yield Prepared("soft:ape", engine, SoftApe(engine, cache), cache)
    for name in apes:
        temperature, scale = map(float, name.partition("@")[2].split("x"))
        yield Prepared(name, engine, SoftApe(engine, cache, temperature=temperature, scale=scale), cache)


def _extracted(parts: Parts, most: int) -> curves.Keep:
    scan = curves._Scan(Extractive(parts.scorer, parts.engine.count_text))
    return scan.keeping(Target(0.0, most, fill=True))


def _half(engine: Engine, keeping: Any) -> curves.Keep:
    """A way that keeps at most half of a question's tokens."""

    def keep(question: str, corpus: Corpus, watch: Watch) -> Kept:
        tokens = sum(engine.count_text(document.text) for document in corpus.documents)
        kept: Kept = keeping(engine, int(SHARE * tokens))(question, corpus, watch)
        return kept

    return keep


if __name__ == "__main__":
    main()

"""How much of the gold evidence stands in what retrievers bring, at the same number of tokens.

    python benchmarks/retrieval_recall.py [--set dev300] [--model smollm2-135m] [--tokens 500 1000 2000]
        [--retrievers hybrid words chunkfree attention ...] [--reranker FOLDER] [--ldar FOLDER] [--chunkfree FOLDER]
        [--questions N] [--minutes M]

Retrievers: `hybrid`, the baseline (words and meaning, fused); `hybrid:N`, over segments of at most N estimated tokens
instead of 300, to tune their size; `words` and `meaning`, its halves; `late`, hybrid with
late chunking; `rerank`, hybrid with a cross-encoder; `chunkfree` (with --chunkfree by a trained adapter) and
`attention`, for which the model reads everything; `ldar`, a learned band, which may read less than it is allowed. Their
passages are cut to each of --tokens of the model's own and joined as `rag` does. Recall is the share of the evidence's
characters in what is left, `whole` that of the questions whose evidence is all there. Questions without evidence in
characters are left out.

Rows are kept in runs/, question by question; --minutes ends a run between two questions, and the same command goes on.
The result is over the questions for which every retriever has a row.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import dev_data
import numpy as np
import results_file
from tqdm import tqdm

from turnout.compression.memory_cache import MemoryCache
from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.contracts import Attends, Embedder, Engine, Locates, Retriever
from turnout.database import Database
from turnout.documents import Passage
from turnout.engines import adapter, open_engine
from turnout.engines.models import model_folder
from turnout.progress import Watch, silent
from turnout.retrieval.attention import AttentionRetriever
from turnout.retrieval.chunkfree import ChunkFreeRetriever
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.late import LateVectors
from turnout.retrieval.ldar import LdarRetriever
from turnout.retrieval.learned_band import LearnedBand
from turnout.retrieval.library import Library
from turnout.retrieval.merge import in_document_order
from turnout.retrieval.rerank import CrossEncoderRanker
from turnout.retrieval.segment import segment
from turnout.retrieval.similarity import similarities
from turnout.retrieval.vectors import checked
from turnout.router.evaluation import inputs
from turnout.router.evaluation.items import cluster
from turnout.router.evaluation.schema import Item
from turnout.router.evaluation.statistics import macro_interval, paired_difference
from turnout.types import Part

SEED = 1
BASELINE = "hybrid"
DEFAULT = (BASELINE, "words", "meaning", "late", "chunkfree", "attention")
PASSAGES = 60
"""Asked of a retriever: enough for the largest budget."""

RUNS = Path(__file__).parents[1] / "runs"


class Sized:
    """The baseline over segments of another size; those of the last documents are kept."""

    name = "sized"

    def __init__(self, embedder: Embedder, tokens: int) -> None:
        self._embedder, self._tokens = embedder, tokens
        self._search = HybridRetriever(embedder)
        self._kept: tuple[Corpus | None, Corpus | None] = (None, None)

    def warm(self, corpus: Corpus) -> None:
        self._search.warm(self._cut(corpus))

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        return self._search.retrieve(question, self._cut(corpus), limit, watch)

    def _cut(self, corpus: Corpus) -> Corpus:
        of, own = self._kept
        if own is None or of is None or of.documents != corpus.documents:
            segments = [each for document in corpus.documents for each in segment(document, self._tokens)]
            texts = [corpus.text(each.span) for each in segments]
            own = Corpus(
                corpus.documents,
                segments,
                fingerprint=self._embedder.fingerprint,
                vectors=lambda: checked(self._embedder.embed(texts), len(texts), self._embedder.dimension),
            )
            self._kept = corpus, own
        return own


class ByMeaning:
    """The dense half of the baseline alone."""

    name = "meaning"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def warm(self, corpus: Corpus) -> None:
        similarities(self._embedder, "warm", corpus)

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        found = similarities(self._embedder, question, corpus)
        assert found is not None  # noqa: S101 - the library has an embedder
        best = np.argsort(-found, kind="stable")[:limit]
        return [Passage(corpus.segments[n].span, corpus.text(corpus.segments[n].span), float(found[n])) for n in best]


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    settings = Settings.load(model=given.model, chunkfree=given.chunkfree or "")
    engine = open_engine(settings)
    embedder = SentenceEmbedder(model_folder(DEFAULT_EMBEDDER, settings, role="embedder"), settings.device)
    read = inputs.load(
        [dev_data.DATA / "dev/questions"], [dev_data.DATA / "dev/documents"], lambda _bad: None, question_set=given.set
    )
    items = [item for item in read.items if spans(item)]
    Random(SEED).shuffle(items)  # noqa: S311 - so that a run that is cut is of all datasets
    items = items[: given.questions]
    named = engine.model.full_name.rpartition("/")[2].replace("+", "-")
    folder = RUNS / f"recall-{given.set}"
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "index"
    home.mkdir(exist_ok=True)
    library = Library(Database.at(Settings.load(home=home)), home, embedder)
    inputs.keep(library, {i: read.documents[i] for item in items for i in item.doc_ids}.values(), silent)
    retrievers = {name: made(name, engine, embedder, given) for name in given.retrievers}
    files = {name: folder / f"{named}-{label(name, given)}.jsonl" for name in retrievers}
    rows = {name: {row["id"]: row for row in results_file.rows(file)} for name, file in files.items()}
    until = time.monotonic() + 60 * given.minutes
    for item in tqdm(items):
        if time.monotonic() > until:
            break
        missing = [n for n in retrievers if not covers(rows[n].get(item.id), given.tokens)]
        if not missing:
            continue
        corpus = library.corpus([read.documents[i] for i in item.doc_ids])
        for name in missing:
            row = measured(item, read, corpus, retrievers[name], engine, given.tokens)
            rows[name][item.id] = row
            with files[name].open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    done = [item for item in items if all(covers(rows[n].get(item.id), given.tokens) for n in retrievers)]
    if not done:
        raise SystemExit("no question was read by every retriever: allow more --minutes")
    facts = {"model": engine.model.full_name, "embedder": embedder.name, "set": given.set, "questions": len(done)}
    facts |= {"of": len(items), "baseline": BASELINE}
    if given.chunkfree:
        facts["chunkfree"] = label("chunkfree", given)
    figures = {name: summary(done, rows, name, given.tokens) for name in retrievers}
    results_file.write(f"retrieval_recall_{named}_{given.set}", SEED, facts | {"retrievers": figures})


def made(name: str, engine: Engine, embedder: SentenceEmbedder, given: argparse.Namespace) -> Retriever:
    match name:
        case "hybrid":
            return HybridRetriever(embedder)
        case "words":
            return HybridRetriever()
        case "meaning":
            return ByMeaning(embedder)
        case _ if name.startswith("hybrid:") and name[7:].isdecimal() and int(name[7:]) > 1:
            return Sized(embedder, int(name[7:]))
        case "late":
            return HybridRetriever(embedder, late=LateVectors(embedder, MemoryCache()))
        case "rerank" if given.reranker:
            return HybridRetriever(embedder, ranker=CrossEncoderRanker(given.reranker))
        case "ldar" if given.ldar:
            policy = LearnedBand(given.ldar)
            policy.check(embedder)
            return LdarRetriever(embedder, policy)
        case "chunkfree" if isinstance(engine, Locates):
            return ChunkFreeRetriever(engine, spans=8)
        case "attention" if isinstance(engine, Attends):
            return AttentionRetriever(engine)
        case _:
            raise SystemExit(f"{name} is no retriever, or lacks its model: see --help")


def label(name: str, given: argparse.Namespace) -> str:
    """Tells rows of one reranker, policy or adapter from those of another."""
    if name == "rerank":
        return f"rerank-{given.reranker.name}"
    if name == "chunkfree" and given.chunkfree:
        return f"chunkfree-{adapter.read(given.chunkfree, adapter.CHUNKFREE).sha256[:8]}"
    return f"ldar-{LearnedBand(given.ldar).sha256[:8]}" if name == "ldar" else name.replace(":", "-")


def measured(
    item: Item, read: inputs.Inputs, corpus: Corpus, retriever: Retriever, engine: Engine, budgets: Sequence[int]
) -> dict[str, Any]:
    """A row: for each budget the recall, whether all of the evidence is there, and the tokens that are read."""
    retriever.warm(corpus)
    watch = Watch()
    started = time.perf_counter()
    passages = retriever.retrieve(item.question, corpus, PASSAGES, watch)
    row: dict[str, Any] = {"id": item.id, "seconds": round(time.perf_counter() - started, 3)}
    row |= {"scanned": watch.read_tokens, "at": {}}
    for tokens in budgets:
        parts = in_document_order(passages, corpus, within(tokens, engine))
        inside, total = overlap(item, read, parts)
        used = sum(engine.count_text(part.text) for part in parts)
        row["at"][str(tokens)] = {"recall": round(inside / total, 4), "whole": inside == total, "tokens": used}
    return row


def within(tokens: int, engine: Engine) -> Callable[[list[Part]], bool]:
    return lambda parts: sum(engine.count_text(part.text) for part in parts) <= tokens


def spans(item: Item) -> list[tuple[str, int, int]]:
    """The evidence that has characters."""
    found = ((e.doc_id, e.start, e.end) for e in item.evidence or ())
    return [(doc, start, end) for doc, start, end in found if start is not None and end is not None and end > start]


def overlap(item: Item, read: inputs.Inputs, parts: Sequence[Part]) -> tuple[int, int]:
    """Characters of the evidence that stand in parts, and all of them; each once."""
    wanted = {(read.documents[doc].id, at) for doc, start, end in spans(item) for at in range(start, end)}
    given = [(part.span.document_id, part.span.start, part.span.end) for part in parts]
    inside = sum(any(doc == of and start <= at < end for of, start, end in given) for doc, at in wanted)
    return inside, len(wanted)


def covers(row: dict[str, Any] | None, budgets: Sequence[int]) -> bool:
    return row is not None and all(str(tokens) in row["at"] for tokens in budgets)


def summary(
    done: Sequence[Item], rows: dict[str, dict[str, dict[str, Any]]], name: str, budgets: Sequence[int]
) -> dict[str, Any]:
    """Macro over datasets with intervals over documents, and the difference to the baseline."""
    clusters, datasets = [cluster(item) for item in done], [item.dataset for item in done]
    own = [rows[name][item.id] for item in done]
    found: dict[str, Any] = {
        "seconds": results_file.spread([row["seconds"] for row in own]),
        "scanned_tokens": results_file.spread([row["scanned"] for row in own]),
    }
    for tokens in budgets:
        at = [row["at"][str(tokens)] for row in own]
        recalls = [each["recall"] for each in at]
        figures: dict[str, Any] = {
            "recall": dataclasses.asdict(macro_interval(recalls, clusters, datasets, seed=SEED)),
            "whole": dataclasses.asdict(macro_interval([each["whole"] for each in at], clusters, datasets, seed=SEED)),
            "tokens": results_file.spread([each["tokens"] for each in at]),
        }
        if name != BASELINE and BASELINE in rows:
            base = [rows[BASELINE][item.id]["at"][str(tokens)]["recall"] for item in done]
            difference = paired_difference(recalls, base, clusters, datasets, seed=SEED)
            figures["difference"] = dataclasses.asdict(difference)
        found[str(tokens)] = figures
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="dev300", help="list of question ids in benchmarks/sets")
    parser.add_argument("--model", help="whose tokens count, and which reads for chunkfree and attention")
    parser.add_argument("--tokens", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--retrievers", nargs="+", default=list(DEFAULT))
    parser.add_argument("--reranker", type=Path)
    parser.add_argument("--ldar", type=Path)
    parser.add_argument("--chunkfree", type=Path, help="folder of an adapter that turnout train chunkfree made")
    parser.add_argument("--questions", type=int, help="at most so many; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

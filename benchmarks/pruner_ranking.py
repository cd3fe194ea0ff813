"""How well the pruner, and the embedder that it is built on, put a question's passages in order: nDCG@10 on dev.

    python benchmarks/pruner_ranking.py --weights FOLDER [--set dev300] [--questions N] [--minutes M] [--candidates 40]

For each question whose evidence has characters, the passages of its documents, as `rag` cuts them, are what is ordered:
the --candidates that BM25 puts first, those with evidence always among them. A passage that holds evidence counts 1.
`pruner` orders by the relevance that comes with its scores, `embedder` by cosine, `words` by BM25. Rows are kept in
runs/, question by question; --minutes ends a run between two questions, and the same command goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import dev_data
import numpy as np
import results_file
from tqdm import tqdm

from turnout.compression.pruner import SHIPPED, Pruner
from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.documents import Document
from turnout.engines.models import model_folder
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.lexical import LexicalIndex
from turnout.retrieval.segment import segment
from turnout.retrieval.vectors import of_question
from turnout.router.evaluation import inputs
from turnout.router.evaluation.items import cluster
from turnout.router.evaluation.schema import Item
from turnout.router.evaluation.statistics import macro_interval, paired_difference

SEED = 1
RANKS = 10
BASE = "embedder"
RUNS = Path(__file__).parents[1] / "runs"


def main(given: argparse.Namespace) -> None:
    dev_data.require()
    settings = Settings.load()
    folder = model_folder(DEFAULT_EMBEDDER, settings, role="embedder")
    embedder, pruner = SentenceEmbedder(folder, settings.device), Pruner(folder, given.weights, settings.device)
    pruner.open()
    read = inputs.load(
        [dev_data.DATA / "dev/questions"], [dev_data.DATA / "dev/documents"], lambda _bad: None, question_set=given.set
    )
    items = [item for item in read.items if item.evidence]
    Random(SEED).shuffle(items)  # noqa: S311 - so that a run that is cut is of all datasets
    RUNS.mkdir(exist_ok=True)
    state = RUNS / f"ranking-{pruner.fingerprint[:12]}-{given.candidates}.jsonl"
    rows = {row["id"]: row for row in results_file.rows(state)}
    until = time.monotonic() + 60 * given.minutes
    for item in tqdm(items[: given.questions]):
        if item.id in rows:
            continue
        if time.monotonic() > until:
            break
        rows[item.id] = {"id": item.id, **measured(item, read, pruner, embedder, given.candidates)}
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[item.id]) + "\n")
    done = [item for item in items[: given.questions] if rows.get(item.id, {}).get("ndcg")]
    if not done:
        raise SystemExit("no question with evidence was measured: allow more --minutes")
    clusters, datasets = [cluster(item) for item in done], [item.dataset for item in done]
    scores = {name: [rows[item.id]["ndcg"][name] for item in done] for name in ("pruner", BASE, "words")}
    figures: dict[str, Any] = {"set": given.set, "embedder": embedder.name, "weights": given.weights.name}
    figures |= {"questions": len(done), "candidates": given.candidates, "ndcg10": {}}
    for name, values in scores.items():
        figures["ndcg10"][name] = dataclasses.asdict(macro_interval(values, clusters, datasets, seed=SEED))
        if name != BASE:
            figures["ndcg10"][f"{name}_over_{BASE}"] = dataclasses.asdict(
                paired_difference(values, scores[BASE], clusters, datasets, seed=SEED)
            )
    results_file.write(f"pruner_ranking_{given.set}", SEED, figures)


def measured(
    item: Item, read: inputs.Inputs, pruner: Pruner, embedder: SentenceEmbedder, most: int
) -> dict[str, dict[str, float]]:
    """nDCG@10 of each order; none where no passage, or every one, holds evidence."""
    documents = {doc: read.documents[doc] for doc in item.doc_ids}
    texts: list[str] = []
    gains: list[bool] = []
    for doc, document in documents.items():
        for span in (each.span for each in segment(document)):
            texts.append(document.text[span.start : span.end])
            gains.append(holds(item, doc, document, span.start, span.end))
    by_words = LexicalIndex(texts).scores(item.question)
    chosen = sorted(range(len(texts)), key=lambda at: (not gains[at], -by_words[at], at))[:most]
    chosen.sort()  # ties are by place, not by whether they hold evidence
    texts, relevant = [texts[at] for at in chosen], [gains[at] for at in chosen]
    if not any(relevant) or all(relevant):
        return {"ndcg": {}}
    orders: dict[str, Sequence[float]] = {
        "pruner": [each.relevance for each in pruner.score(item.question, texts)],
        BASE: [float(value) for value in embedder.embed(texts) @ of_question(embedder, item.question)],
        "words": [float(by_words[at]) for at in chosen],
    }
    return {"ndcg": {name: round(ndcg(scores, relevant), 4) for name, scores in orders.items()}}


def holds(item: Item, doc: str, document: Document, start: int, end: int) -> bool:
    """Whether a passage holds evidence."""
    for evidence in item.evidence or ():
        if evidence.doc_id == doc and evidence.start is not None and evidence.end is not None:
            inside = min(end, evidence.end) - max(start, evidence.start)
            # The end of a sentence that was cut off says nothing.
            if inside > 0 and 2 * inside >= min(evidence.end - evidence.start, end - start):
                return True
    return False


def ndcg(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Of RANKS, with gains of 0 and 1."""
    best = np.argsort(-np.asarray(scores), kind="stable")[:RANKS]
    gained = sum(relevant[at] / math.log2(rank + 2) for rank, at in enumerate(best))
    return gained / sum(1 / math.log2(rank + 2) for rank in range(min(sum(relevant), RANKS)))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="those that come with the package by default")
    parser.add_argument("--set", default="dev300", help="list of question ids in benchmarks/sets")
    parser.add_argument("--questions", type=int, help="at most so many; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--candidates", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

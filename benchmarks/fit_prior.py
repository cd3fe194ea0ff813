"""Fits the router's prior, the files of router/priors, on LaRA's released predictions and the wording of dev questions.

    python benchmarks/fit_prior.py [--vectors FOLDER]

Nothing here decides how good the prior is: that is measured by `routing_on_lara.py`, without the documents it is scored
on. The vectors of LaRA's documents take about 40 minutes on two cores; in FOLDER they are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import dev_data
import numpy as np
from numpy.typing import NDArray

from turnout.documents import Document
from turnout.retrieval.lexical import LexicalIndex
from turnout.retrieval.search_signals import SearchSignals, measure
from turnout.retrieval.segment import segment
from turnout.router import kinds, quality
from turnout.router.calibration import kinds as kind_fitting
from turnout.router.calibration import prior
from turnout.router.calibration.folds import folds
from turnout.router.cues import cues
from turnout.router.evaluation import lara, routing_learned
from turnout.router.evaluation.inputs import load
from turnout.router.evaluation.items import Item, read_items
from turnout.router.evaluation.routing_policies import MODELS, Board, board, signals

Matrix = NDArray[np.float64]

DATA = dev_data.DATA / "dev"
GROUPS = Path(__file__).with_name("lara_groups.json")
TEMPLATES = ("contractnli", "evidence_inference", "nocha", "legalbench_rag")
"""Sets whose questions were worded by a template or are no questions: their wording shows nothing."""

LARA_COUNTS = 3.0
"""How much more LaRA's questions count: the others are there for wording that LaRA lacks, and for summaries."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, default=Path("runs/lara-vectors"))
    folder = parser.parse_args().vectors
    dev_data.require()
    asked = [item for item in read_items([DATA / "questions"], raise_) if item.dataset not in TEMPLATES]
    table = lara_board([item for item in asked if item.dataset == "lara"])
    others = [item for item in asked if item.dataset != "lara"]
    every = [*table.items, *others]
    features = np.array([cues(item.question) for item in every])
    named = [routing_learned.TASKS.get(item.task, item.task) for item in every]
    sets = [item.dataset for item in every]

    rows, groups = np.arange(len(table.items)), np.array(table.clusters)
    shares = np.zeros((len(rows), len(kinds.KINDS)))
    rest = np.arange(len(rows), len(every))
    for inside, outside in folds(rows, groups, routing_learned.FOLDS):
        at = np.r_[inside, rest]
        fitted = kind_fitting.fit_kinds(
            features[at], [named[i] for i in at], [sets[i] for i in at], {"lara": LARA_COUNTS}
        )
        shares[outside] = [fitted.shares(features[i]) for i in outside]
    found = np.array([signal.values() for signal in searches(table, folder)])
    unanswerable = np.array([named[i] == "unanswerable" for i in rows])
    write(
        kinds.FILE,
        {
            "kinds": kinds.KINDS,
            "basis": f"{len(every):,} questions of {len(set(sets))} sets",
            "asked": kind_fitting.to_dict(kind_fitting.fit_kinds(features, named, sets, {"lara": LARA_COUNTS})),
            "searched": kind_fitting.to_dict(kind_fitting.fit_searched(shares, found, unanswerable)),
        },
    )

    lengths = np.array([quality.length_position(signals(item, "").fill) for item in table.items])
    columns = np.hstack([shares, shares * lengths[:, None]])
    sizes = np.array([quality.size_position(MODELS[model][0]) for model in table.models])
    weights = routing_learned.balance(table)
    write(
        quality.FILE,
        {
            "version": quality.VERSION,
            "basis": f"LaRA's predictions of {len(table.models)} models on {len(table.items):,} questions",
            "columns": quality.COLUMNS[: columns.shape[1]],
            "average": [*np.round(columns.mean(axis=0), 4), *(0.0 for _ in quality.FACTS)],
            "level": prior.fit(columns, table.rag, sizes, weights).to_dict(),
            "gain": prior.fit(columns, table.full - table.rag, sizes, weights).to_dict(),
        },
    )


def lara_board(items: list[Item]) -> Board:
    """LaRA's questions with the scores of both ways."""
    by_id = {item.id: item for item in items}
    predictions = lara.read_predictions(DATA / "routing/lara_predictions.jsonl.gz", by_id, lambda bad: None)
    grades = {p.key: lara.grade(p.text, by_id[p.question_id]) for p in predictions}
    answered = {question for question, _, _ in grades}
    return board([item for item in items if item.id in answered], grades, lara.read_groups(GROUPS))


def searches(table: Board, folder: Path) -> Iterator[SearchSignals]:
    """What a search finds for each question of a board."""
    from turnout.config import Settings
    from turnout.parts import default_embedder

    embedder = default_embedder(Settings.load())
    if embedder is None:
        raise SystemExit("the embedder is not here: turnout models pull all-minilm-l6-v2")
    folder.mkdir(parents=True, exist_ok=True)
    given = load([DATA / "questions/lara.jsonl.gz"], [DATA / "documents/lara.jsonl.gz"], raise_)
    indexed: dict[str, tuple[Matrix, LexicalIndex]] = {}
    for item in table.items:
        name = item.doc_ids[0]
        if name not in indexed:
            document = given.documents[name]
            texts = passages(document)
            file = folder / f"{name.replace('/', '_')}.npz"
            if not file.exists():
                np.savez(file, v=embedder.embed(texts).astype(np.float16))
            vectors = np.load(file)["v"].astype(np.float32)
            if len(vectors) != len(texts):
                raise SystemExit(f"{file} has {len(vectors)} vectors for {len(texts)} segments: delete it")
            indexed = {name: (vectors, LexicalIndex(texts))}  # questions come by document
        vectors, words = indexed[name]
        cosines = vectors @ embedder.embed([item.question])[0]
        yield measure(cosines, *words.coverage(item.question))


def passages(document: Document) -> list[str]:
    """The texts of a document's segments."""
    return [document.text[found.span.start : found.span.end] for found in segment(document)]


def write(path: Path, content: dict[str, object]) -> None:
    """One line for each field."""
    lines = (f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in content.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(path, path.stat().st_size, "bytes")


def raise_(bad: object) -> None:
    raise SystemExit(f"malformed: {bad}")


if __name__ == "__main__":
    main()

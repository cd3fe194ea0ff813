"""Which layer's attention finds a planted fact, and whether sliding over long texts finds it at every depth.

    python benchmarks/attention_retrieval.py layers MODEL [DOCUMENTS]
    python benchmarks/attention_retrieval.py needles MODEL SIZE [DEPTHS] [LAYER]

`layers`: documents of 1,024 tokens (../shared/data/haystack) with facts planted in them, four questions each; for every
layer the median rank of the asked fact among the sentences, by the strongest phrase, and how often it is the first.
`needles`: one fact at each of DEPTHS evenly spaced depths (20) of SIZE tokens; it counts as found where it is among
what would be read (`rag`'s passage budget). Goes on where it was stopped: rows are kept in runs/.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import dev_data
import numpy as np
import psutil
import results_file
from tqdm import tqdm

from turnout.config import NO_ADAPTER, Settings
from turnout.engines import attending, open_engine
from turnout.engines.local import LocalEngine
from turnout.retrieval.attention import PHRASE_TOKENS, AttentionRetriever, smoothed
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import in_document_order
from turnout.router.calibration.filler import read_texts
from turnout.router.calibration.synthetic import Trial, filler_of, make_document
from turnout.router.strategies.rag import PASSAGE_TOKENS, PASSAGES
from turnout.sentences import sentences
from turnout.types import Document

SEED, SIZE, QUESTIONS = 1, 1024, 4
RUNS = Path(__file__).parents[1] / "runs"


def main(what: str, model: str, *numbers: str) -> None:
    dev_data.require()
    engine = open_engine(Settings.load(model=model, adapter=NO_ADAPTER))
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{model} is no local model: only those show their attention")
    name = Path(model).name
    if what == "layers":
        results_file.write(f"attention_layers_{name}", SEED, layers(engine, *map(int, numbers)))
    else:
        size, *rest = map(int, numbers)
        results_file.write(f"attention_needles_{name}_{size}", SEED, needles(engine, name, size, *rest))


def layers(engine: LocalEngine, documents: int = 10) -> dict[str, Any]:
    filler = filler_of(read_texts(dev_data.DATA / "haystack/texts.jsonl.gz"))
    ranks: list[dict[int, int]] = []
    for index in tqdm(range(documents)):
        made = make_document(
            filler, engine.count_text, size=SIZE, seed=SEED, index=index, kinds=("needle",), questions=QUESTIONS
        )
        ranks += [ranks_by_layer(engine, made.text, trial) for trial in made.trials]
    figures = {
        layer: {"median": median(found), "first": round(sum(rank == 1 for rank in found) / len(found), 3)}
        for layer in ranks[0]
        for found in ([each[layer] for each in ranks],)
    }
    best = min(figures, key=lambda layer: (-figures[layer]["first"], figures[layer]["median"]))
    return {"model": engine.model.name, "questions": len(ranks), "tokens": SIZE, "best": best, "layers": figures}


def ranks_by_layer(engine: LocalEngine, text: str, trial: Trial) -> dict[int, int]:
    """The rank of the sentence with the answer, in each layer."""
    texts = [text[start:end] for start, end in sentences(text)]
    (fact,) = trial.facts
    (gold,) = [number for number, each in enumerate(texts) if fact in each] or [-1]
    ids, places = attending.prompt(engine.tokenizer, texts, trial.question)
    start, end = places.pop()
    words = attending.words(engine.tokenizer, ids[:start])
    is_word = np.array([token in words for token in ids[:start]], np.float64)
    ranks = {}
    with engine.sequence() as sequence:
        sequence.prefill(ids[:start])
        for layer in range(engine.folder.config["num_hidden_layers"]):
            summed = sequence.attention_rows(layer, ids[start:end])[..., :start].float().sum((0, 1)).numpy()
            sequence.truncate(start)
            smooth = smoothed(summed * is_word, PHRASE_TOKENS)
            strongest = [smooth[first:last].max() for first, last in places]
            ranks[layer] = 1 + sum(value > strongest[gold] for value in strongest)
    return ranks


@dataclass(frozen=True, slots=True)
class Hidden:
    text: str
    question: str
    fact: str


def needles(engine: LocalEngine, name: str, size: int, depths: int = 20, layer: int | None = None) -> dict[str, Any]:
    RUNS.mkdir(exist_ok=True)
    state = RUNS / f"attention_needles_{name}_{size}_{depths}_{layer}.jsonl"
    rows = [json.loads(line) for line in state.read_text("utf-8").splitlines()] if state.exists() else []
    retriever = AttentionRetriever(engine, layer=layer)
    for number, hidden in enumerate(tqdm(list(haystacks(engine, size, depths)))):
        if number < len(rows):
            continue
        corpus = Corpus([Document(f"hay{number}", "hay", hidden.text, "hay.txt", "text")], [])
        started = time.perf_counter()
        passages = retriever.retrieve(hidden.question, corpus, PASSAGES)
        seconds = time.perf_counter() - started
        read = in_document_order(
            passages, corpus, lambda parts: sum(engine.count_text(part.text) for part in parts) <= PASSAGE_TOKENS
        )
        row = {
            "depth": round(number / max(depths - 1, 1), 3),
            "found": any(hidden.fact in part.text for part in read),
            "first": bool(passages) and hidden.fact in passages[0].text,
            "read_tokens": sum(engine.count_text(part.text) for part in read),
            "seconds": round(seconds, 2),
            "rss_bytes": psutil.Process().memory_info().rss,
        }
        rows.append(row)
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    return {
        "model": name,
        "tokens": size,
        "layer": layer if layer is not None else "middle",
        "found": sum(row["found"] for row in rows) / len(rows),
        "first": sum(row["first"] for row in rows) / len(rows),
        "seconds": results_file.spread([row["seconds"] for row in rows]),
        "rows": rows,
    }


def haystacks(engine: LocalEngine, size: int, depths: int) -> Iterator[Hidden]:
    """Running text with one fact of a small document in it, at evenly spaced depths."""
    filler = filler_of(read_texts(dev_data.DATA / "haystack/texts.jsonl.gz"))
    for number in range(depths):
        made = make_document(
            filler, engine.count_text, size=SIZE, seed=SEED, index=number, kinds=("needle",), questions=1
        )
        (trial,) = made.trials
        (fact,) = trial.facts
        hay = filler.draw(Random(number), engine.count_text, size - engine.count_text(fact))  # noqa: S311
        hay.insert(round(len(hay) * number / max(depths - 1, 1)), f"{fact} ")
        yield Hidden("".join(hay), trial.question, fact)


if __name__ == "__main__":
    main(*sys.argv[1:])

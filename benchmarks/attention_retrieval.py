"""Which layer's attention finds a planted fact.

    python benchmarks/attention_retrieval.py layers MODEL [DOCUMENTS]

Documents of 1,024 tokens (../shared/data/haystack) with facts planted in them, four questions each; for every layer the
median rank of the asked fact among the sentences, by the strongest phrase, and how often it is the first. Whether
sliding over long texts then finds it is measured by needles.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

import dev_data
import numpy as np
import results_file
from tqdm import tqdm

from turnout.config import NO_ADAPTER, Settings
from turnout.engines import attending, open_engine
from turnout.engines.local import LocalEngine
from turnout.retrieval.attention import PHRASE_TOKENS, smoothed
from turnout.router.calibration.filler import read_texts
from turnout.router.calibration.synthetic import Trial, filler_of, make_document
from turnout.sentences import sentences

SEED, SIZE, QUESTIONS = 1, 1024, 4


def main(what: str, model: str, *numbers: str) -> None:
    if what != "layers":
        raise SystemExit(f"{what!r} is not measured here: layers, or needles.py")
    dev_data.require()
    engine = open_engine(Settings.load(model=model, adapter=NO_ADAPTER))
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{model} is no local model: only those show their attention")
    name = Path(model).name
    results_file.write(f"attention_layers_{name}", SEED, layers(engine, *map(int, numbers)))


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


if __name__ == "__main__":
    main(*sys.argv[1:])

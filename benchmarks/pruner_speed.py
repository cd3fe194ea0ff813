"""How many passages of 300 tokens the sentence pruner scores in a second, and where that time goes.

    python benchmarks/pruner_speed.py [--weights FOLDER] [--passages 64] [--seconds 20] [--threads 2]

Passages are pieces of the haystack's books, cut between sentences at 300 of the encoder's tokens, each with a question
of the usual length. Without weights the encoder gets random heads and random low-rank weights of the recipe's rank:
what a pass costs does not hang on their values, and the result says that they were random. Rounds are repeated until
--seconds are over; the number format is the one that the pruner takes here (bfloat16 where the processor has it).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dev_data
import results_file

from turnout.compression.cross_encoder import CARD, HEADS, WEIGHTS
from turnout.compression.pruner import SHIPPED, Pruner
from turnout.compression.units import units_of
from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.engines.models import model_folder
from turnout.retrieval.embedder_folder import EmbedderFolder
from turnout.sentences import sentences
from turnout.training.pruner_fitting import PrunerRecipe

SEED = 1
PASSAGE_TOKENS = 300
QUESTION = "Who had to pay for the repair of the lamp, and how much was asked for it in the end?"


def main(given: argparse.Namespace) -> None:
    import torch

    dev_data.require()
    torch.set_num_threads(given.threads)
    settings = Settings.load()
    folder = model_folder(DEFAULT_EMBEDDER, settings, role="embedder")
    with tempfile.TemporaryDirectory() as made:
        weights = given.weights or (SHIPPED if (SHIPPED / WEIGHTS).is_file() else untrained(folder, Path(made)))
        pruner = Pruner(folder, weights, settings.device)
        pruner.open()
        encoder = pruner._opened()
        texts, tokens = passages(encoder, given.passages)
        list(pruner.score(QUESTION, texts[:4]))  # the first pass prepares the library
        rounds = timed(lambda: sum(1 for _ in pruner.score(QUESTION, texts)), given.seconds)
        cutting = timed(lambda: sum(len(units_of(text + " ")) for text in texts), 1.0)
        reading = timed(lambda: sum(len(encoder.encode(text)[0]) for text in texts), 1.0)
    figures: dict[str, Any] = {
        "encoder": folder.name,
        "weights": weights.name if given.weights or weights == SHIPPED else "random",
        "dtype": pruner._dtype,
        "threads": given.threads,
        "passages": len(texts),
        "passage_tokens": results_file.spread(tokens),
        "passages_per_s": results_file.spread([len(texts) / seconds for seconds in rounds]),
        "tokens_per_s": round(sum(tokens) / min(rounds)),
        "of_which_s": {"round": min(rounds), "cutting": min(cutting), "tokenizing": min(reading)},
    }
    results_file.write("pruner_speed", SEED, figures)


def passages(encoder: Any, count: int) -> tuple[list[str], list[int]]:
    """Texts of about PASSAGE_TOKENS tokens, and how many each has."""
    texts: list[str] = []
    tokens: list[int] = []
    for text, size in _pieces(encoder):
        texts.append(text)
        tokens.append(size)
        if len(texts) == count:
            break
    return texts, tokens


def _pieces(encoder: Any) -> Iterator[tuple[str, int]]:
    for document in dev_data.read(dev_data.DATA / "haystack/texts.jsonl.gz"):
        text = document["text"][:200_000]
        begin = size = 0
        for start, end in sentences(text):
            more = len(encoder.encode(text[start:end])[0])
            if size and size + more > PASSAGE_TOKENS:
                if size > 0.8 * PASSAGE_TOKENS:
                    yield text[begin:start], size
                begin, size = start, 0
            size += more


def timed(work: Any, seconds: float) -> Sequence[float]:
    """Seconds of each round."""
    found: list[float] = []
    until = time.perf_counter() + seconds
    while not found or time.perf_counter() < until:
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def untrained(embedder: Path, target: Path) -> Path:
    """Random weights in the layout of trained ones."""
    import torch
    from safetensors.torch import save_file

    recipe, config = PrunerRecipe(), EmbedderFolder.read(embedder).config
    hidden, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    source = torch.Generator().manual_seed(SEED)
    shapes = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (wide, hidden),
        "output.dense": (hidden, wide),
    }
    weights = {}
    for layer in range(int(config["num_hidden_layers"])):
        for name, (out, into) in shapes.items():
            module = f"encoder.layer.{layer}.{name}"
            weights[f"{module}.lora_A.weight"] = torch.randn(recipe.rank, into, generator=source) / into
            weights[f"{module}.lora_B.weight"] = torch.randn(out, recipe.rank, generator=source) / recipe.rank
    for head in HEADS:
        weights |= {f"{head}.weight": torch.randn(1, hidden, generator=source) / hidden, f"{head}.bias": torch.zeros(1)}
    save_file({name: each.to(torch.bfloat16) for name, each in weights.items()}, target / WEIGHTS)
    (target / CARD).write_text(json.dumps({"scale": recipe.alpha / recipe.rank}), encoding="utf-8")
    return target


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="those that come with the package by default, else random ones")
    parser.add_argument("--passages", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

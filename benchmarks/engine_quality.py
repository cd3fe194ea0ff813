"""What int8 weights, attention by products, and positions stretched by YaRN cost: mean loss over real text.

    python benchmarks/engine_quality.py [MODEL_FOLDER]

int8: pieces of dev documents, whose second half is read token by token as an answer is written, with the weights as
they are and in int8; the difference is paired by piece, with an interval by bootstrap over pieces. YaRN: long
documents, read with the window as it is (up to its end) and stretched twofold; loss by distance from the beginning.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file
import torch

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.paged import dense

SEED = 1
DATASETS = ("squad", "fairytaleqa", "covidqa", "qmsum", "evidence_inference", "contractnli", "sec_10q", "squality")
PIECES, PIECE = 5, 384
BOOKS, BOOK, FIRST = 4, 4096, 1024
"""Documents, their tokens, and the first one whose loss counts: before it there is little to look at."""
LONG, FACTOR = 6, 2.0


def main(folder: Path) -> None:
    dev_data.require()
    figures: dict[str, Any] = {
        "model": folder.name,
        "int8": int8(folder),
        "products": products(folder),
        "yarn": yarn(folder),
    }
    results_file.write("engine_quality", SEED, figures)


def int8(folder: Path) -> dict[str, Any]:
    engines = {name: LocalEngine(folder, int8=way) for name, way in (("as they are", False), ("int8", True))}
    pieces = list(texts(next(iter(engines.values()))))
    losses = {name: np.array([written(engine, ids) for ids in pieces]) for name, engine in engines.items()}
    agree = {name: [greedy(engine, ids) for ids in pieces] for name, engine in engines.items()}
    same = [a == b for one, other in zip(*agree.values(), strict=True) for a, b in zip(one, other, strict=True)]
    change = losses["int8"] - losses["as they are"]
    draws = np.random.default_rng(SEED).choice(change, (2000, len(change))).mean(1)
    return {
        "pieces": len(pieces),
        "tokens": len(pieces) * PIECE // 2,
        "loss": {name: float(values.mean()) for name, values in losses.items()},
        "change": {"mean": float(change.mean()), "low": float(np.quantile(draws, 0.025)),
                   "high": float(np.quantile(draws, 0.975))},
        "same_next_token": float(np.mean(same)),
    }  # fmt: skip


def texts(engine: LocalEngine) -> Iterator[list[int]]:
    """PIECES pieces of PIECE tokens from documents of each dataset."""
    for dataset in DATASETS:
        found = 0
        for document in dev_data.documents(dataset).values():
            ids = engine.tokenizer.encode_text(document["text"][:6000])[:PIECE]
            if len(ids) == PIECE:
                yield ids
                found += 1
            if found == PIECES:
                break


def written(engine: LocalEngine, ids: list[int]) -> float:
    """Mean loss over the second half, each token read in a step of its own."""
    half, total = len(ids) // 2, 0.0
    sequence = engine.sequence()
    logits = sequence.prefill(ids[:half])
    for token in ids[half:]:
        total -= float(torch.log_softmax(logits.float(), -1)[token])
        logits = sequence.append([token])[0]
    sequence.close(keep=False)
    return total / (len(ids) - half)


def greedy(engine: LocalEngine, ids: list[int]) -> list[int]:
    """The likeliest next token at each place of the second half."""
    half, found = len(ids) // 2, []
    sequence = engine.sequence()
    logits = sequence.prefill(ids[:half])
    for token in ids[half:]:
        found.append(int(logits.argmax()))
        logits = sequence.append([token])[0]
    sequence.close(keep=False)
    return found


def products(folder: Path) -> dict[str, Any]:
    """Losses by both ways of attention in bfloat16, and their mean distance from float32, token by token."""
    engine, exact = (LocalEngine(folder, dtype=dtype, int8=False) for dtype in ("bfloat16", "float32"))
    if engine.device != "cpu":
        return {"skipped": "a GPU attends with its own kernels"}
    documents = sorted(dev_data.documents("squality").values(), key=lambda d: -len(d["text"]))[:BOOKS]
    found: dict[str, list[np.ndarray]] = {"products": [], "flash": [], "float32": []}
    many = dense.MANY_KEYS
    for document in documents:
        ids = engine.tokenizer.encode_text(document["text"][: BOOK * 8])[:BOOK]
        found["products"].append(np.array(losses_of(engine, ids)[FIRST:]))
        dense.MANY_KEYS = 1 << 40
        found["flash"].append(np.array(losses_of(engine, ids)[FIRST:]))
        dense.MANY_KEYS = many
        found["float32"].append(np.array(losses_of(exact, ids)[FIRST:]))
    losses = {name: np.concatenate(values) for name, values in found.items()}
    away = {name: float(abs(losses[name] - losses["float32"]).mean()) for name in ("products", "flash")}
    means = {name: float(values.mean()) for name, values in losses.items()}
    return {"documents": BOOKS, "tokens": len(losses["flash"]), "loss": means, "mean_distance_from_float32": away}


def yarn(folder: Path) -> dict[str, Any]:
    """Mean loss over the last 512 tokens before each distance."""
    plain, stretched = LocalEngine(folder), LocalEngine(folder, yarn=FACTOR)
    window = plain.model.window
    places = [window // 4, window // 2, window, round(window * 1.5), window * 2 - 8]
    rows: dict[str, dict[int, list[float]]] = {"as it is": {}, f"stretched {FACTOR:g} times": {}}
    documents = [d["text"] for d in dev_data.documents("squality").values()]
    documents += [d["text"] for d in dev_data.documents("lara").values()]
    read = 0
    for text in sorted(documents, key=len, reverse=True):
        ids = plain.tokenizer.encode_text(text[: window * 12])[: window * 2]
        if len(ids) < places[-1] or read == LONG:
            continue
        read += 1
        for engine, found in zip((plain, stretched), rows.values(), strict=True):
            losses = losses_of(engine, ids[: engine.model.window - 8])
            for place in places:
                if place <= len(losses):
                    found.setdefault(place, []).append(float(np.mean(losses[place - 512 : place])))
    means = {name: {place: float(np.mean(values)) for place, values in found.items()} for name, found in rows.items()}
    return {"documents": read, "window": window, "loss_before_token": means}


def losses_of(engine: LocalEngine, ids: list[int]) -> list[float]:
    """Loss of each token but the first."""
    sequence, losses = engine.sequence(), []
    for begin in range(0, len(ids), 256):
        chunk = ids[begin : begin + 256]
        logits = torch.log_softmax(sequence.append(chunk, logits=range(len(chunk))).float(), -1)
        following = ids[begin + 1 : begin + 1 + len(chunk)]
        losses += (-logits[torch.arange(len(following)), torch.tensor(following)]).tolist()
    sequence.close(keep=False)
    return losses


if __name__ == "__main__":
    given = sys.argv[1:2]
    main(Path(given[0]) if given else model_folder(DEFAULT_MODEL, Settings.load(), role="generator"))

"""`turnout train chunkfree`: LoRA weights with which a model points at an answer's sentences; see docs/models.md."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from turnout.config import Settings
from turnout.engines import adapter, loading
from turnout.engines.device import pick_device, pick_dtype
from turnout.engines.folder import read_json
from turnout.engines.local import LocalEngine
from turnout.engines.manifest import sha256_of
from turnout.engines.models import model_folder
from turnout.errors import ConfigurationError, ModelError
from turnout.progress import Progress, silent
from turnout.training import card, data, fitting, lora, stages
from turnout.training.chunkfree_lessons import ChunkFreeRecipe, Lesson, pairs_of, sheets, tokenised
from turnout.training.chunkfree_scores import compared, rows
from turnout.training.data import TrainingData
from turnout.training.recipe import Recipe
from turnout.training.run_folder import agree, answer_ends, require_peft
from turnout.training.tokens import TokenisedSheets

PLAN, WEIGHTS, SCORES = "plan.json", "chunkfree", "valid.json"
LESSONS, WATCHED, COUNTS = "lessons.npz", "watched.npz", "lessons.json"
VERSION = 1
NAME = "chunkfree1"
WATCHED_LESSONS = 48
"""Lessons of the valid fold that are looked at while training."""

LICENCE = "made from the texts of the datasets under lessons, whose licences and attributions hold for it too"

__all__ = ["ChunkFreeRecipe", "chunkfree"]


def chunkfree(
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None = None,
    *,
    recipe: ChunkFreeRecipe | None = None,
    limit: int = 300,
    device: str | None = None,
    home: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains LoRA weights that `rag:chunkfree` reads with; the model stays as it is for everything else.

    The same call goes on where a run in `out` was stopped.

    Args:
        data_folder: contexts and examples, see `turnout.training.data`; those are learnt whose answers stand in
            sentences that are named.
        out: the run's folder: plan, token ids, checkpoints, curve, scores, and the weights with their card in
            `chunkfree/`.
        model: a packaged name, a Hugging Face id that was pulled, or a folder.
        limit: most questions of the valid fold.

    Returns:
        Of the valid fold `n`, and of `plain`, the model as it is, and `trained` what `chunkfree_scores.Row` says;
        `difference` is that of `f1`, with its interval.

    Raises:
        ConfigurationError: data or options are wrong, or `out` holds a run with others.
        ModelError: the model is not here, can't point at sentences, or LoRA can't be put on it.
        MissingExtraError: the extra `train` is not installed.
    """
    recipe = recipe or ChunkFreeRecipe()
    require_peft("training an adapter")
    settings = Settings.load(home=home, model=model, device=device)
    folder = model_folder(settings.model, settings, role="generator")
    name = folder.name if Path(settings.model).expanduser().is_dir() else settings.model
    engine = LocalEngine(folder, name, settings.device)
    ends = answer_ends(engine, name)
    if not engine.admission.footprint.paged:
        raise ModelError(f"{name} can't point at sentences: its keys and values do not lie in pages")
    if recipe.max_tokens > engine.model.window:
        raise ConfigurationError(
            f"max_tokens is {recipe.max_tokens:,}, and {name} has a window of {engine.model.window:,} tokens",
            hint=f"give at most {engine.model.window:,}",
        )
    read = data.read(Path(data_folder), without=frozenset(recipe.without))
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    plan = {
        "version": VERSION,
        "model": engine.folder.fingerprint,
        "data": data.fingerprint(Path(data_folder)),
        "valid": limit,
        "recipe": dataclasses.asdict(recipe),
    }
    agree(target / PLAN, json.loads(json.dumps(plan)))
    if not (target / WEIGHTS).is_dir() or not (target / SCORES).is_file():
        valid = list(islice(_asked(read, engine, ends[0], recipe), limit))
        if not (target / WEIGHTS).is_dir():
            _prepare(read, valid, engine, ends[0], recipe, target, progress)
            with loading.quiet():
                _train(engine, recipe, target, pick_device(settings.device), progress)
        if not (target / SCORES).is_file():
            _score(valid, engine, settings.device, target, progress)
    scores: dict[str, Any] = read_json(target / SCORES)
    card.complete(target / WEIGHTS, read_json(target / COUNTS), target / fitting.CURVE, scores)
    return scores


def _asked(read: TrainingData, engine: LocalEngine, end: int, recipe: ChunkFreeRecipe) -> Iterator[Lesson]:
    """Questions of the valid fold, each over a text of its own, that are short enough to be answered."""
    alone = chain.from_iterable(sheets(read, "valid", recipe, together=1))
    return (each for each in alone if any(pairs_of(each, engine.tokenizer, end, recipe.max_tokens)))


def _prepare(
    read: TrainingData,
    valid: list[Lesson],
    engine: LocalEngine,
    end: int,
    recipe: ChunkFreeRecipe,
    out: Path,
    progress: Progress,
) -> None:
    if (out / LESSONS).is_file():
        return
    total = sum(each.fold == "train" and bool(each.evidence and each.answers) for each in read.examples)
    total = min(total, recipe.examples or total)
    made, counts = tokenised(
        sheets(read, "train", recipe),
        engine.tokenizer,
        end,
        recipe,
        recipe.examples,
        lambda done: progress("preparing", min(done, total), total),
    )
    watched = [list(pairs_of(each, engine.tokenizer, end, recipe.max_tokens))[:1] for each in valid[:WATCHED_LESSONS]]
    if not counts or not watched:
        raise ConfigurationError(
            f"no question of the fold {'valid' if counts else 'train'!r} with the sentences that hold its answer fits "
            f"{recipe.max_tokens:,} tokens",
            hint="allow more max_tokens, or give other data",
        )
    (out / COUNTS).write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", encoding="utf-8")
    TokenisedSheets.of(watched).save(out / WATCHED)
    TokenisedSheets.of(made).save(out / LESSONS)


def _train(engine: LocalEngine, recipe: ChunkFreeRecipe, out: Path, device: str, progress: Progress) -> None:
    import torch
    import transformers

    as_reader = Recipe(
        max_tokens=recipe.max_tokens,
        rank=recipe.rank,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        batch_tokens=recipe.batch_tokens,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        steps=recipe.steps,
        seed=recipe.seed,
    )
    dtype = pick_dtype(device)
    network = lora.wrap(loading.load(engine.folder, device, dtype), as_reader, engine.model.name)
    facts = fitting.fit(
        network,
        TokenisedSheets.load(out / LESSONS),
        as_reader,
        out,
        device,
        watched=TokenisedSheets.load(out / WATCHED),
        bf16=dtype == "bfloat16",
        progress=progress,
    )
    facts |= {
        "device": stages.device_name(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for old in ("trained.jsonl", SCORES):  # of weights that are gone
        (out / old).unlink(missing_ok=True)
    partial = out / f"{WEIGHTS}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    lora.save(network, partial)
    about = {
        "name": NAME,
        "kind": adapter.CHUNKFREE,
        "made": time.strftime("%Y-%m-%d"),
        "base": {"name": engine.model.name, **adapter.identity(engine.folder, network.get_base_model())},
        "sha256": sha256_of(partial / adapter.WEIGHTS),
        "licence": LICENCE,
        "recipe": dataclasses.asdict(recipe),
        "training": facts,
    }
    (partial / adapter.CARD).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    partial.rename(out / WEIGHTS)


def _score(valid: list[Lesson], plain: LocalEngine, device: str | None, out: Path, progress: Progress) -> None:
    """What is scored is what is used: the engine, with the weights beside the model's and without."""
    trained = LocalEngine(plain.folder.path, plain.model.name, device, chunkfree=out / WEIGHTS)
    found = {}
    for way, engine in (("trained", trained), ("plain", plain)):
        try:
            found[way] = rows(engine, valid, out / f"{way}.jsonl", "scoring", progress)
        finally:
            engine.close()
    partial = out / f"{SCORES}.partial"
    partial.write_text(json.dumps(compared(valid, found), indent=1) + "\n", encoding="utf-8")
    partial.replace(out / SCORES)

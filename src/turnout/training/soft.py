"""`turnout train soft`: weights that make soft tokens, by distillation from the model itself; see docs/soft.md."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from turnout.config import Settings
from turnout.engines import adapter, loading
from turnout.engines.device import pick_device, pick_dtype
from turnout.engines.folder import read_json
from turnout.engines.local import LocalEngine
from turnout.engines.manifest import sha256_of
from turnout.engines.models import model_folder
from turnout.engines.soft.kind import PIECE_TOKENS
from turnout.engines.soft.weights import KIND, LINEAR
from turnout.errors import ConfigurationError
from turnout.progress import Progress, silent
from turnout.training import data, fitting, lora, stages
from turnout.training.generation import generate
from turnout.training.recipe import Recipe
from turnout.training.run_folder import agree, answer_ends, require_peft
from turnout.training.soft_lessons import SoftRecipe, answered, prompts
from turnout.training.tokens import TokenisedSheets, batches

PLAN, WEIGHTS, SCORES = "plan.json", "soft", "valid.json"
VERSION = 1
NAME = "soft1"
LESSONS = {"train": "lessons.npz", "valid": "valid.npz"}
WATCHED = 48
"""Lessons of the valid fold that are looked at while training."""

MICRO_TOKENS = 2048
"""Tokens that go through the model at once, twice: as text and as soft tokens."""

__all__ = ["SoftRecipe", "soft"]


def soft(
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None = None,
    *,
    recipe: SoftRecipe | None = None,
    limit: int = 300,
    device: str | None = None,
    home: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains LoRA weights and a linear layer that make soft tokens for a model, which stays as it is.

    The same call goes on where a run in `out` was stopped.

    Args:
        data_folder: contexts and examples, see `turnout.training.data`; only texts and questions of it are used.
        out: the run's folder; the weights with their card are in `soft/`.
        model: a packaged name, a Hugging Face id that was pulled, or a folder.
        limit: most prompts of the valid fold.

    Returns:
        Of the valid fold, `loss` and `agree` (see `soft_model.figures`) of `trained` soft tokens, `mean` ones, every
        so manieth token (`halved`), and no document (`empty`): what is not better than these is of no use.

    Raises:
        ConfigurationError: data or options are wrong, or `out` holds a run with others.
        ModelError: the model is not here, or LoRA can't be put on it.
        MissingExtraError: the extra `train` is not installed.
    """
    recipe = recipe or SoftRecipe()
    require_peft("training soft tokens")
    settings = Settings.load(home=home, model=model, device=device)
    folder = model_folder(settings.model, settings, role="generator")
    name = folder.name if Path(settings.model).expanduser().is_dir() else settings.model
    read = data.read(Path(data_folder), without=frozenset(recipe.without))
    engine = LocalEngine(folder, name, settings.device)
    ends = list(answer_ends(engine, name))
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
    if not (target / WEIGHTS).is_dir():
        with loading.quiet():
            _train(read, engine, ends, recipe, limit, target, pick_device(settings.device), progress)
    scores: dict[str, Any] = read_json(target / SCORES)
    return scores


def _train(
    read: data.TrainingData,
    engine: LocalEngine,
    ends: list[int],
    recipe: SoftRecipe,
    limit: int,
    out: Path,
    device: str,
    progress: Progress,
) -> None:
    import torch
    import transformers

    from turnout.training import soft_model

    name = engine.model.name
    as_reader = Recipe(
        rank=recipe.rank,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        seed=recipe.seed,
        max_tokens=recipe.max_tokens,
        batch_tokens=recipe.batch_tokens,
    )
    network = loading.load(engine.folder, device, pick_dtype(device))
    for fold, most in (("train", recipe.examples), ("valid", limit)):
        if not (out / LESSONS[fold]).is_file():
            asked = prompts(read, fold, engine, recipe, most, PIECE_TOKENS)
            _teach(network, asked, ends, recipe, device, progress, fold).save(out / LESSONS[fold])
    lessons, valid = (TokenisedSheets.load(out / LESSONS[fold]) for fold in ("train", "valid"))
    if not len(lessons) or not len(valid):
        raise ConfigurationError(
            f"no passage with its question fits {recipe.max_tokens:,} tokens, or the model answers none",
            hint="allow more max_tokens, or give other data",
        )
    model = soft_model.SoftModel(lora.wrap(network, as_reader, name), recipe.rate, ends[0]).to(device)
    micro = min(MICRO_TOKENS, recipe.batch_tokens)
    accumulate = recipe.batch_tokens // micro
    order = list(batches(lessons.lengths, micro, recipe.seed))
    if recipe.steps is not None:
        del order[recipe.steps * accumulate :]
    every = list(batches(valid.lengths, micro, seed=0))
    few = list(batches(valid.lengths[:WATCHED], micro, seed=0))

    def look() -> dict[str, float]:
        return {f"valid_{name}": value for name, value in soft_model.figures(model, valid, few, "trained").items()}

    facts = fitting.run(
        model,
        fitting.Material(order, soft_model.collate(lessons), soft_model.distillation),
        fitting.Pace(recipe.learning_rate, recipe.warmup, accumulate, recipe.seed),
        out,
        device,
        look=look,
        bf16=pick_dtype(device) == "bfloat16",
        progress=progress,
    )
    scores: dict[str, Any] = {"n": len(valid)}
    for done, way in enumerate(soft_model.WAYS, 1):
        scores[way] = soft_model.figures(model, valid, every, way)
        progress("scoring", done, len(soft_model.WAYS))
    (out / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    seen = [index for batch in order for index in batch]
    facts |= {
        "lessons": len(seen),
        "tokens": int(lessons.lengths[seen].sum()),
        "device": stages.device_name(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    _save(model, engine, recipe, facts, scores, out)


def _teach(
    network: Any,
    asked: TokenisedSheets,
    ends: list[int],
    recipe: SoftRecipe,
    device: str,
    progress: Progress,
    fold: str,
) -> TokenisedSheets:
    """The prompts of a fold with what the model answers to them."""
    answers: list[list[int]] = [[] for _ in range(len(asked))]
    made = generate(network, [sheet.prompt for sheet in asked], recipe.answer_tokens, ends, device)
    for done, (index, answer) in enumerate(made, start=1):
        answers[index] = answer
        progress("keeping" if fold == "train" else "scoring", done, len(asked))
    return answered(asked, answers, ends[0], recipe.answer_tokens)


def _save(
    model: Any, engine: LocalEngine, recipe: SoftRecipe, facts: dict[str, Any], scores: dict[str, Any], out: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    partial = out / f"{WEIGHTS}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    lora.save(model.reader, partial)
    save_file({"weight": model.linear.weight.detach().to("cpu", torch.bfloat16).contiguous()}, partial / LINEAR)
    curve = [json.loads(line) for line in (out / fitting.CURVE).read_text(encoding="utf-8").splitlines()]
    card = {
        "name": NAME,
        "kind": KIND,
        "made": time.strftime("%Y-%m-%d"),
        "rate": recipe.rate,
        "piece_tokens": PIECE_TOKENS,
        "end": model.end,
        "base": {"name": engine.model.name, **adapter.identity(engine.folder, model.reader.get_base_model())},
        "sha256": sha256_of(partial / adapter.WEIGHTS),
        "recipe": dataclasses.asdict(recipe),
        "training": facts,
        "curve": curve,
        "valid": scores,
    }
    (partial / adapter.CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    partial.rename(out / WEIGHTS)

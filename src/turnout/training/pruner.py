"""`turnout train pruner`: the sentence pruner's weights, from the same data as the reader; see docs/models.md."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.engines.device import pick_device, pick_dtype
from turnout.engines.folder import read_json
from turnout.engines.models import model_folder
from turnout.errors import ConfigurationError
from turnout.progress import Progress, silent
from turnout.training import data, pruner_examples, stages
from turnout.training.pruner_fitting import IGNORED, Learner, PrunerRecipe, loss
from turnout.training.run_folder import agree, require_peft

PLAN, WEIGHTS, SCORES = "plan.json", "pruner", "valid.json"
VERSION = 1
NAME = "pruner1"
WATCHED = 200
"""Pairs of the valid fold that are looked at while training."""

__all__ = ["PrunerRecipe", "pruner"]


def pruner(
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    recipe: PrunerRecipe | None = None,
    embedder: str | os.PathLike[str] | None = None,
    limit: int = 300,
    device: str | None = None,
    home: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains the weights that say which sentences of a passage an answer wants, and how relevant the passage is.

    The same call goes on where a run in `out` was stopped.

    Args:
        data_folder: contexts and examples, see `turnout.training.data`.
        out: the run's folder; the weights with their card are in `pruner/`.
        embedder: folder of a BERT encoder; the default embedder's.
        limit: most questions of the valid fold.

    Returns:
        Figures of the valid fold: `pruner`, `words` and `meaning` (see `pruner_scores.figures`), and `ranking`, nDCG@10
        of the pruner and of the embedder.

    Raises:
        ConfigurationError: data or options are wrong, or `out` holds a run with others.
        ModelError: the embedder is not here, or no BERT encoder.
        MissingExtraError: the extra `train` is not installed.
    """
    from turnout.compression.pruner import Pruner
    from turnout.retrieval.embed import SentenceEmbedder
    from turnout.retrieval.embedder_folder import EmbedderFolder

    recipe = recipe or PrunerRecipe()
    require_peft("training the pruner")
    settings = Settings.load(home=home, device=device)
    folder = Path(embedder) if embedder else model_folder(DEFAULT_EMBEDDER, settings, role="embedder")
    read = data.read(Path(data_folder), without=frozenset(recipe.without))
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    plan = {"version": VERSION, "data": data.fingerprint(Path(data_folder)), "recipe": dataclasses.asdict(recipe)}
    agree(target / PLAN, json.loads(json.dumps(plan)))
    if not (target / WEIGHTS).is_dir():
        _train(read, EmbedderFolder.read(folder), recipe, target, pick_device(settings.device), progress)
    scores = _scored(read, Pruner(folder, target / WEIGHTS, settings.device), SentenceEmbedder(folder), limit, progress)
    (target / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    card = target / WEIGHTS / "card.json"
    card.write_text(json.dumps(read_json(card) | {"valid": scores}, indent=1) + "\n", encoding="utf-8")
    return scores


def _train(
    read: data.TrainingData, folder: Any, recipe: PrunerRecipe, out: Path, device: str, progress: Progress
) -> None:
    import torch
    import transformers

    learner = Learner(folder, recipe, device)
    made: dict[str, list[pruner_examples.Pair]] = {}
    for fold, most in (("train", recipe.examples), ("valid", WATCHED)):
        draw = pruner_examples.seeded(recipe.seed, fold)
        examples = pruner_examples.chosen(read, fold, most, draw)
        if not examples:
            raise ConfigurationError(f"no example of the fold {fold!r} names the sentences that hold its answer")
        made[fold] = []
        for done, several in enumerate(pruner_examples.pairs(read, examples, recipe.elsewhere, draw), start=1):
            made[fold] += filter(learner.fits, several)
            progress("preparing", done, len(examples))

    def look() -> dict[str, float]:
        return _watched(learner, made["valid"])

    facts = learner.fit(made["train"], out, look, pick_dtype(device) == "bfloat16", progress)
    facts |= {
        "device": stages.device_name(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    learner.save(
        out / WEIGHTS,
        {
            "name": NAME,
            "made": time.strftime("%Y-%m-%d"),
            "base": folder.path.name,
            "recipe": dataclasses.asdict(recipe),
            "pairs": dict(sorted(Counter(pair.dataset for pair in made["train"]).items())),
            "training": facts,
        },
    )


def _watched(learner: Learner, pairs: list[pruner_examples.Pair]) -> dict[str, float]:
    """`valid_loss`, and the F1 of tokens at a half."""
    import torch

    total = hits = wanted = given = 0.0
    with torch.inference_mode():
        for begin in range(0, len(pairs), 8):
            inputs = {name: each.to(learner.device) for name, each in learner.collate(pairs[begin : begin + 8]).items()}
            total += float(loss(learner.model, inputs)) * len(pairs[begin : begin + 8])
            keep, _ = learner.model(inputs["input_ids"], inputs["token_type_ids"], inputs["attention_mask"])
            inside = inputs["wanted"] != IGNORED
            picked, true = (keep > 0)[inside], (inputs["wanted"] > 0)[inside]
            hits, wanted, given = (
                hits + float((picked & true).sum()),
                wanted + float(true.sum()),
                given + float(picked.sum()),
            )
    return {"valid_loss": total / max(len(pairs), 1), "valid_f1": 2 * hits / max(wanted + given, 1.0)}


def _scored(read: data.TrainingData, made: Any, embedder: Any, limit: int, progress: Progress) -> dict[str, Any]:
    from turnout.compression.scorers import ByMeaning, ByWords
    from turnout.training.pruner_scores import by_meaning, by_scorer, figures, ranking

    draw = pruner_examples.seeded(1, "scores")
    examples = pruner_examples.chosen(read, "valid", limit, draw)
    pairs = [pair for several in pruner_examples.pairs(read, examples, 0.0, draw) for pair in several]
    scores: dict[str, Any] = {}
    steps = [(scorer.name, scorer) for scorer in (made, ByWords(), ByMeaning(embedder))]
    for done, (name, scorer) in enumerate(steps):
        progress("scoring", done, len(steps) + 2)
        scores[name] = figures(scorer, pairs)
    asked = [example for example in examples if example.answer_type != "unanswerable"]
    progress("scoring", len(steps), len(steps) + 2)
    scores["ranking"] = {
        "pruner": ranking(read, asked, by_scorer(made)),
        "embedder": ranking(read, asked, by_meaning(embedder)),
    }
    progress("scoring", len(steps) + 2, len(steps) + 2)
    return scores

"""`turnout train ldar`: the policy that picks how many passages a reader reads, and from where; see docs/models.md."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from turnout.config import DEFAULT_EMBEDDER, Settings
from turnout.contracts import Embedder, Engine
from turnout.engines import adapter as adapters
from turnout.engines import adapter_folder, open_engine
from turnout.engines.folder import read_json
from turnout.engines.manifest import sha256_of
from turnout.engines.models import model_folder
from turnout.errors import ConfigurationError
from turnout.progress import Progress, Watch, silent
from turnout.retrieval.learned_band import CARD, KIND, WEIGHTS, LearnedBand
from turnout.retrieval.segment import estimate_tokens
from turnout.retrieval.vectors import name_of
from turnout.router.evaluation.statistics import paired_difference
from turnout.training import band_table, data, reader_examples, surroundings
from turnout.training.band_table import Asked, LdarRecipe, Row
from turnout.training.data import TrainingData
from turnout.training.recipe import draws
from turnout.training.run_folder import agree

PLAN, REWARDS, POLICY, SCORES, CURVE = "plan.json", "rewards.jsonl", "ldar", "valid.json", "curve.jsonl"
VERSION = 1
NAME = "ldar1"
ASKED = frozenset({"extractive", "abstractive", "number", "list"})
"""Answer types whose answers a reader would write in their own words."""

EVIDENCE_FIRST = frozenset({"number", "sentence"})
"""What an adapter gives before the answer, so that the answer does not follow the prompt."""

__all__ = ["LdarRecipe", "ldar"]


def ldar(
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None = None,
    *,
    recipe: LdarRecipe | None = None,
    adapter: str | os.PathLike[str] | None = None,
    embedder: str | os.PathLike[str] | None = None,
    limit: int = 150,
    device: str | None = None,
    home: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Asks a reader how likely the right answer is after each of a few bands of passages, and fits a policy to that.

    The same call goes on where a run in `out` was stopped: every question's rewards are kept as soon as they are known.
    With another network or other steps the policy is fitted anew, to the rewards that are there.

    Args:
        data_folder: contexts and examples, see `turnout.training.data`.
        out: the run's folder: plan, rewards, curve, scores, and the weights with their card in `ldar/`.
        model: the reader: a packaged name, a Hugging Face id that was pulled, or a folder.
        adapter: folder of its adapter, or "none"; the one that comes with the model by default.
        embedder: folder of the embedder; the default one's.
        limit: most questions of the valid fold.

    Returns:
        Of the valid fold `n`, and reward (nats a token of the answer), tokens and passages of `policy`, of `fixed`, the
        one band that was best in training, of `top`, as many of the most similar as a band may have, and of `oracle`,
        the best of each question's; `difference` is that of policy and fixed with its interval.

    Raises:
        ConfigurationError: data or options are wrong, or `out` holds a run with others.
        ModelError: model or embedder is not here, or the model can't say how likely an answer is.
        MissingExtraError: the extra `local` is not installed.
    """
    from turnout.retrieval.embed import SentenceEmbedder

    recipe = recipe or LdarRecipe()
    settings = Settings.load(home=home, model=model, device=device, adapter=adapter)
    _refuse_evidence_first(settings)
    folder = Path(embedder) if embedder else model_folder(DEFAULT_EMBEDDER, settings, role="embedder")
    meaning = SentenceEmbedder(folder, settings.device)
    read = data.read(Path(data_folder), without=frozenset(recipe.without))
    engine = open_engine(settings)
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    plan = {
        "version": VERSION,
        "data": data.fingerprint(Path(data_folder)),
        "model": engine.model.fingerprint,
        "embedder": meaning.fingerprint,
        "valid": limit,
        "table": recipe.table,
    }
    agree(target / PLAN, json.loads(json.dumps(plan)))
    if not _is_fitted(target, recipe):
        try:
            _train(read, engine, meaning, recipe, limit, target, progress)
        finally:
            engine.close()
    scores: dict[str, Any] = read_json(target / SCORES)
    return scores


def _is_fitted(out: Path, recipe: LdarRecipe) -> bool:
    """Whether the run's policy is that of the recipe, and was scored."""
    if not (out / SCORES).is_file() or not (out / POLICY / CARD).is_file():
        return False
    found = read_json(out / POLICY / CARD).get("recipe")
    return bool(found == json.loads(json.dumps(dataclasses.asdict(recipe))))


def _refuse_evidence_first(settings: Settings) -> None:
    folder = None if settings.is_remote else adapter_folder(settings)
    found = None if folder is None else adapters.read(folder)
    if found is not None and found.evidence in EVIDENCE_FIRST:
        raise ConfigurationError(
            f"the adapter {found.name} gives its evidence before the answer, whose likelihood would be of no use",
            hint="use one that was trained with --evidence after or none, or --adapter none",
        )


def _train(
    read: TrainingData,
    engine: Engine,
    embedder: Embedder,
    recipe: LdarRecipe,
    limit: int,
    out: Path,
    progress: Progress,
) -> None:
    import torch

    from turnout.training.band_fitting import best_fixed, fit

    asked = {
        fold: list(_asked(read, fold, most, recipe, engine))
        for fold, most in (("train", recipe.examples), ("valid", limit))
    }
    rows = _rewarded(asked, embedder, out / REWARDS, progress)
    telling = {fold: [row for row in rows if row.fold == fold and row.tells] for fold in asked}
    for fold, found in telling.items():
        if not found:
            raise ConfigurationError(
                f"no question of the fold {fold!r} can be read with two bands",
                hint="allow more max_tokens, smaller bands, or give other data",
            )
    started = time.perf_counter()
    network, curve = fit(telling["train"], recipe, progress)
    facts = {"seconds": round(time.perf_counter() - started, 1), "torch": torch.__version__}
    (out / CURVE).write_text("".join(json.dumps(row) + "\n" for row in curve), encoding="utf-8")
    (out / SCORES).unlink(missing_ok=True)
    card = {
        "name": NAME,
        "kind": KIND,
        "made": time.strftime("%Y-%m-%d"),
        "reader": {"name": engine.model.full_name, "fingerprint": engine.model.fingerprint},
        "embedder": {"name": name_of(embedder), "fingerprint": embedder.fingerprint},
        "recipe": dataclasses.asdict(recipe),
        "questions": dict(sorted(Counter(row.dataset for row in telling["train"]).items())),
        "training": facts,
    }
    _save(network, card, out / POLICY)
    fixed = best_fixed(telling["train"], recipe)
    by_id = {each.example.id: each for each in asked["valid"]}
    scores = _scored(telling["valid"], by_id, LearnedBand(out / POLICY), fixed, recipe, progress)
    _write(out / POLICY / CARD, card | {"sha256": sha256_of(out / POLICY / WEIGHTS), "valid": scores})
    _write(out / SCORES, scores)


def _asked(read: TrainingData, fold: str, most: int | None, recipe: LdarRecipe, engine: Engine) -> Iterator[Asked]:
    """Questions of a fold that mean one passage among all of their dataset's."""
    used = reader_examples.used(read, fold)
    pools = surroundings.pools(read.passages, used, estimate_tokens)
    usable = [example for example in used if example.answer_type in ASKED]
    draws("ldar", recipe.seed, fold).shuffle(usable)
    for example in islice((each for each in usable if pools[each.dataset].names_its_passage(each)), most):
        yield Asked(example, read.passages[example.passage], pools[example.dataset], recipe, engine)


def _rewarded(asked: Mapping[str, Sequence[Asked]], embedder: Embedder, file: Path, progress: Progress) -> list[Row]:
    """A row for each question; those that the file has are not asked for again."""
    rows = band_table.load(file)
    known = {row.id for row in rows}
    total = sum(map(len, asked.values()))
    for fold, several in asked.items():
        for each in several:
            if each.example.id not in known:
                row = each.row(fold, each.similarities(embedder), Watch())
                band_table.append(file, row)
                rows.append(row)
            progress("rewarding", len(rows), total)
    return rows


def _scored(
    rows: Sequence[Row],
    asked: Mapping[str, Asked],
    policy: LearnedBand,
    fixed: tuple[int, int],
    recipe: LdarRecipe,
    progress: Progress,
) -> dict[str, Any]:
    from turnout.training.band_fitting import nearest

    picked: list[tuple[float, int, int]] = []
    for done, row in enumerate(rows, start=1):
        picked.append(_read_by(policy, row, asked[row.id]))
        progress("scoring", done, len(rows))
    top = (min(recipe.skips), max(recipe.sizes))
    ways = {
        "policy": picked,
        "fixed": [_of(row, nearest(row, fixed)) for row in rows],
        "top": [_of(row, nearest(row, top)) for row in rows],
        "oracle": [_of(row, int(np.argmax(row.rewards))) for row in rows],
    }
    figures: dict[str, Any] = {}
    for name, found in ways.items():
        means = (round(fmean(each), 4) for each in zip(*found, strict=True))
        figures[name] = dict(zip(("reward", "tokens", "passages"), means, strict=True))
    difference = paired_difference(
        [reward for reward, *_ in ways["policy"]],
        [reward for reward, *_ in ways["fixed"]],
        [row.group for row in rows],
        [row.dataset for row in rows],
    )
    figures["fixed"]["band"] = list(fixed)
    return {"n": len(rows), **figures, "difference": dataclasses.asdict(difference)}


def _of(row: Row, place: int) -> tuple[float, int, int]:
    return row.rewards[place], row.tokens[place], row.bands[place][1]


def _read_by(policy: LearnedBand, row: Row, asked: Asked) -> tuple[float, int, int]:
    """Reward, tokens and passages of the band that the policy picks, as much of its upper end as fits."""
    places = policy.band(np.array(row.similarities, np.float32)).places(len(row.similarities))
    first, count = places.start, len(places)
    context = asked.context(row.similarities, (first, count))
    while count > 1 and not asked.fits(context):
        count -= 1
        context = asked.context(row.similarities, (first, count))
    if (first, count) in row.bands:
        return _of(row, row.bands.index((first, count)))
    return asked.rewards([context], Watch())[0], asked.tokens(context), count


def _save(network: Any, card: dict[str, Any], folder: Path) -> None:
    """Writes weights and card; the folder appears whole."""
    from safetensors.torch import save_file

    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: each.detach().contiguous() for name, each in network.state_dict().items()}, partial / WEIGHTS)
    _write(partial / CARD, card | {"sha256": sha256_of(partial / WEIGHTS)})
    partial.rename(folder)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)

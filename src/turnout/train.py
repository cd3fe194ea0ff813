"""Training: small weights on top of a model, one function for each command of `turnout train`; see docs/models.md."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from turnout.config import Settings
from turnout.engines import adapter
from turnout.engines.folder import read_json
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.prompt import PLAIN, pieces
from turnout.errors import ConfigurationError, MissingExtraError, UnknownNameError
from turnout.progress import Progress, silent
from turnout.training import card, data, kept, reader_examples, reader_scores, sheets, stages
from turnout.training.chunkfree import ChunkFreeRecipe, chunkfree
from turnout.training.fitting import CURVE
from turnout.training.ldar import LdarRecipe, ldar
from turnout.training.pruner import PrunerRecipe, pruner
from turnout.training.reader_examples import Lesson
from turnout.training.recipe import Recipe, draws
from turnout.training.run_folder import answer_ends
from turnout.training.soft import SoftRecipe, soft
from turnout.training.tokens import Pair, TokenisedSheets
from turnout.types import Context

__all__ = [
    "ChunkFreeRecipe", "LdarRecipe", "PrunerRecipe", "Recipe", "SoftRecipe", "chunkfree", "ldar", "pruner", "reader",
    "soft",
]  # fmt: skip

SCORES = "valid.json"
WATCHED, WATCHED_TOKENS = 48, 500
"""Lessons of the valid fold that are looked at while training: short ones, from all over it."""

KINDS = "lessons.json"
"""How many lessons there are of each dataset and kind, and how many were too long."""


def reader(
    data_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | None = None,
    *,
    recipe: Recipe | None = None,
    start: str | os.PathLike[str] | None = None,
    limit: int = 300,
    device: str | None = None,
    home: str | os.PathLike[str] | None = None,
    prepare_only: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains an adapter that makes a model answer from the text: evidence first, then a short answer, or the refusal.

    The same call goes on where a run in `out` was stopped.

    Args:
        data_folder: contexts and examples, see `turnout.training.data`.
        out: the run's folder: recipe, token ids, checkpoints, curve, scores, and the adapter itself in `adapter/`.
        model: a packaged name, a Hugging Face id that was pulled, or a folder.
        start: folder of an adapter to go on from, of the same rank; a fresh one by default.
        limit: most questions of each part of the valid fold.
        prepare_only: stop before the model is needed.

    Returns:
        Figures of the valid fold, `plain` (without the adapter) and `trained`, by task.

    Raises:
        ConfigurationError: data or options are wrong, or `out` holds a run with others.
        ModelError: the model is not here, or LoRA can't be put on it.
        MissingExtraError: the extra `train` is not installed.
    """
    recipe = recipe or Recipe()
    settings = Settings.load(home=home, model=model, device=device)
    folder = model_folder(settings.model, settings, role="generator")
    name = folder.name if Path(settings.model).expanduser().is_dir() else settings.model
    _require_libraries()
    engine = LocalEngine(folder, name, settings.device)
    ends = answer_ends(engine, name)
    if recipe.max_tokens + reader_scores.NEW_TOKENS > engine.model.window:
        raise ConfigurationError(
            f"max_tokens is {recipe.max_tokens:,}, and {name} has a window of {engine.model.window:,} tokens",
            hint=f"give at most {engine.model.window - reader_scores.NEW_TOKENS:,}",
        )
    read = data.read(Path(data_folder), without=frozenset(recipe.without))
    for fold in data.FOLDS:
        if not any(example.answers for example in reader_examples.used(read, fold)):
            raise ConfigurationError(
                f"{data_folder} has no question with a short answer in the fold {fold!r}",
                hint="a reader learns from extractive, abstractive, choice, number and list answers",
            )
    for dataset, _ in recipe.limits:
        if dataset not in (known := {example.dataset for example in read.examples}):
            raise UnknownNameError("dataset", dataset, sorted(known))
    desk = sheets.Desk.of(read, "valid", engine.count_text)
    tasks = {
        state: reader_scores.tasks(read, desk, given, limit, engine.model.window)
        for state, given in (("trained", recipe), ("plain", replace(recipe, evidence="none")))
    }
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    plan = stages.Plan(
        name,
        engine.folder.fingerprint,
        recipe,
        reader_scores.NEW_TOKENS,
        kept.NEW_TOKENS,
        ends,
        limit,
        data.fingerprint(Path(data_folder)),
        adapter.read(Path(start)).sha256 if start is not None else None,
    )
    _agree(target / stages.PLAN, plan.to_dict())
    if start is not None and not (target / stages.START).is_dir():
        shutil.copytree(start, target / stages.START)
    _prepare(engine, read, tasks, recipe, target, ends[0], progress)
    if prepare_only:
        return {}
    stages.run(folder, target, settings.device, progress)
    scores = {state: _score(engine, tasks[state], target / f"{state}.json") for state in ("plain", "trained")}
    (target / SCORES).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    card.complete(target / stages.ADAPTER, read_json(target / KINDS), target / CURVE, scores)
    return scores


def _prepare(
    engine: LocalEngine,
    read: data.TrainingData,
    tasks: Mapping[str, Sequence[reader_scores.Task]],
    recipe: Recipe,
    out: Path,
    end: int,
    progress: Progress,
) -> None:
    def asked(context: Context) -> list[int]:
        # As an adapted model is asked (`format_for`); the numbers of sentences are in the text already.
        return engine.tokenizer.encode(pieces(context, PLAIN))

    def tokens(lesson: Lesson) -> Pair:
        return asked(lesson.context), [*engine.tokenizer.encode_text(lesson.answer), end]

    if not (out / stages.LESSONS).is_file():
        total = recipe.rounds * len(sheets.chosen(read, "train", recipe, draws()))
        kinds: Counter[str] = Counter()
        tokenised: list[list[Pair]] = []
        size = 0
        for sheet in sheets.sheets(read, "train", recipe, engine.count_text):
            fitting = []
            for lesson in sheet:
                prompt, answer = tokens(lesson)
                fits = len(prompt) + len(answer) <= recipe.max_tokens
                kinds[f"{lesson.example.dataset}, {lesson.kind}{'' if fits else ', too long'}"] += 1
                fitting += [(prompt, answer)] if fits else []
            tokenised.append(fitting)
            if recipe.tokens is None:
                progress("preparing", kinds.total(), total)
                continue
            size += int(TokenisedSheets.of([fitting]).lengths.sum())
            progress("preparing", min(size, recipe.tokens), recipe.tokens)
            if size >= recipe.tokens:
                break
        (out / KINDS).write_text(json.dumps(dict(sorted(kinds.items())), indent=1) + "\n", encoding="utf-8")
        TokenisedSheets.of(tokenised).save(out / stages.LESSONS)
    if not (out / stages.WATCHED).is_file():
        valid = [tokens(lesson) for task in tasks["trained"] for lesson in task.lessons]
        short = [pair for pair in valid if len(pair[0]) <= WATCHED_TOKENS] or valid
        few = [short[place * len(short) // WATCHED] for place in range(min(WATCHED, len(short)))]
        plain = (engine.encode(lesson.context) for task in tasks["plain"] for lesson in task.lessons)
        TokenisedSheets.of([pair] for pair in valid).save(out / stages.ASKED["trained"])
        TokenisedSheets.of([(ids, ())] for ids in plain).save(out / stages.ASKED["plain"])
        TokenisedSheets.of([pair] for pair in few).save(out / stages.WATCHED)
    if not (out / stages.REQUESTS).is_file():
        passages = sorted({example.passage for example in reader_examples.used(read, "train")})
        picked = draws("kept", recipe.seed).sample(passages, min(len(passages), 2000))
        asked_for = int(sum(read_json(out / KINDS).values()) * recipe.kept)
        wanted = kept.requests([read.passages[i] for i in picked], asked_for, recipe.seed)
        encoded = (asked(w) if isinstance(w, Context) else engine.tokenizer.encode(w) for w in wanted)
        fitting_requests = (ids for ids in encoded if len(ids) + kept.NEW_TOKENS < recipe.max_tokens)
        TokenisedSheets.of([(ids, ())] for ids in fitting_requests).save(out / stages.REQUESTS)


def _score(engine: LocalEngine, tasks: Sequence[reader_scores.Task], file: Path) -> dict[str, Any]:
    made = json.loads(file.read_text(encoding="utf-8"))
    if len(made) != sum(len(task.lessons) for task in tasks):
        raise ConfigurationError(f"{file} has {len(made):,} answers to other questions", hint="give another --out")
    answers = iter(made)
    return {
        task.name: reader_scores.score(task, [engine.tokenizer.decode(next(answers)) for _ in task.lessons])
        for task in tasks
    }


def _agree(file: Path, wanted: dict[str, Any]) -> None:
    """A run's folder belongs to one plan."""
    if not file.is_file():
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
        return
    found = read_json(file, "give another --out")
    flat, given = (
        {**{f"{n}": v for n, v in plan.items() if n != "recipe"}, **plan["recipe"]} for plan in (found, wanted)
    )
    for name in given:
        if flat.get(name) != given[name]:
            raise ConfigurationError(
                f"{file.parent} holds a run with {name} {flat.get(name)!r}, not {given[name]!r}",
                hint="go on with the same options, or give another --out",
            )


def _require_libraries() -> None:
    try:
        import peft  # noqa: F401
        import rouge_score  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training an adapter", "train") from error

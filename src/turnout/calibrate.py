"""Calibrating: measure of a model what the router needs to know of it. Each function is a command of
`turnout calibrate`; see docs/evaluation.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout.config import ATTENTION_DENSE, Settings
from turnout.contracts import AsksInWords, Engine, ReadsOnce
from turnout.errors import ConfigurationError
from turnout.progress import Progress, silent

ALL_KINDS = ("needle", "multi", "aggregation", "comparison")


def window(
    model: str | None = None,
    *,
    texts: str | os.PathLike[str] | None = None,
    kinds: Sequence[str] = ALL_KINDS,
    sizes: Sequence[int] = (),
    max_size: int | None = None,
    documents: int = 10,
    questions: int = 5,
    seeds: int = 3,
    seed: int = 1,
    state: str | os.PathLike[str] | None = None,
    replace: bool = False,
    engine: Engine | None = None,
    progress: Progress = silent,
    on_plan: Callable[[dict[str, Any]], None] = lambda plan: None,
    **options: Any,
) -> dict[str, Any]:
    """Finds the maximum effective context window of each kind of task and keeps it in the model's profile.

    Args:
        model: as for `Turnout`; `options` are its other settings (model_name, home, device, api_key).
        texts: filler, see `turnout.router.calibration.filler.read_texts`; this project's documentation by default,
            which ends the sizes at about 3,000 tokens.
        sizes: document tokens; by default 256, 512, ... and last the largest that fits, at most 8,192 or `max_size`.
        documents: for each size and seed, with `questions` (at most 8) of each kind. The same facts and questions come
            at every size. Under 10 documents a size, all seeds together, are marked as few.
        seeds: how many, counted from `seed`.
        state: file that keeps the answers, so that the same call goes on after a stop; one of this call's own in the
            folder `calibration` of the data directory by default. Delete it to ask all anew.
        replace: put the result in the place of a larger calibration too.
        engine: an engine of your own instead of `model`.
        on_plan: called before the first prompt with `sizes`, `state`, `texts_end` (the sizes end because the default
            texts do), and what is left to do: `prompts`, `prompt_tokens`, `seconds` (None where the engine was never
            measured) besides the `kept` prompts that `state` has answers to.

    Returns:
        The calibration as JSON types (see `turnout.router.calibration.store.WindowProfile`) and `saved`, where it is.

    Raises:
        ConfigurationError: an option is wrong, the texts are too short, or a larger calibration is kept.
        DocumentError: the texts can't be read.
        StoreError: the state file can't be used.
    """
    from turnout.parts import Parts
    from turnout.router.calibration import plan
    from turnout.router.calibration.filler import default_texts, read_texts
    from turnout.router.calibration.state import TrialStore
    from turnout.router.calibration.store import check_replaces, save_window
    from turnout.router.calibration.tasks import check_kinds
    from turnout.router.calibration.window import Design, head, measure_window, read_with

    for name, value, least in (("documents", documents, 2), ("questions", questions, 1), ("seeds", seeds, 1)):
        if value < least:
            raise ConfigurationError(f"{name} is {value}", hint=f"give {least} or more")
    wanted = check_kinds(kinds)
    filler = read_texts(Path(texts)) if texts is not None else default_texts()
    parts = Parts(Settings.load(model=model, **options), engine, None, progress)
    try:
        reader = parts.engine
        fits = plan.largest_size(reader, filler)
        chosen = plan.choose_sizes(
            fits, filler, reader.count_text, sizes=sizes, max_size=max_size, must_fill=texts is not None
        )
        design = Design(wanted, chosen, tuple(range(seed, seed + seeds)), documents, questions)
        if not replace:
            trials = len(design.seeds) * documents * questions
            check_replaces(parts.database, reader.model.fingerprint, wanted, trials, chosen[-1])
        costs: dict[str, Any] = {
            "design": design,
            "overhead": plan.overhead_tokens(reader),
            "profile": parts.profile,
            "reads_once": isinstance(reader, ReadsOnce),
        }
        prompt_format = reader.prompt_format.name if isinstance(reader, AsksInWords) else ""
        identity = head(design, reader.model, filler, prompt_format)
        path = Path(state) if state is not None else _state_file(parts.settings.home, reader.model.name, identity)
        with TrialStore(path, identity) as store:
            left = plan.estimate(**costs, known=store.known)
            texts_end = not sizes and chosen[-1] < min(max_size or plan.LARGEST, fits)
            on_plan(dataclasses.asdict(left) | {"sizes": list(chosen), "state": str(path), "texts_end": texts_end})
            found = measure_window(
                read_with(reader),
                reader.count_text,
                filler,
                reader.model,
                design,
                progress=progress,
                weights=plan.weights(**costs),
                store=store,
            )
        save_window(parts.database, found, replace=replace)
        return found.to_dict() | {"saved": str(parts.settings.database)}
    finally:
        parts.close()


def cost(
    model: str | None = None,
    *,
    max_tokens: int | None = None,
    repeats: int = 3,
    engine: Engine | None = None,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """Measures what reading and writing costs with a model, and keeps the curves in its profile.

    A server is asked prompts of made-up words: whoever is paid by the token is paid for them.

    Args:
        model: as for `Turnout`; `options` are its other settings (model_name, home, device, adapter).
        max_tokens: of the longest prompt; the window by default.
        repeats: how often all is measured.
        engine: an engine of your own instead of `model`.

    Returns:
        See `turnout.router.calibration.cost.report`, and the `model`, its `curves` and where they are `saved`.

    Raises:
        ConfigurationError: an option is wrong.
        EngineError: the model can't be measured.
    """
    from turnout.parts import Parts
    from turnout.router import profile
    from turnout.router.calibration import cost as measuring

    if repeats < 1:
        raise ConfigurationError(f"repeats is {repeats}", hint="give 1 or more")
    parts = Parts(Settings.load(model=model, **options), engine, None, progress)
    try:
        reader = parts.engine
        found, samples = measuring.run(
            reader, max_tokens, repeats, lambda done, total: progress("measuring", done, total)
        )
        profile.save(parts.database, reader.model, found)
        names = ("prefill_s", "per_token_s", "per_pair_s", "token_s", "token_per_context_s")
        return measuring.report(found, samples) | {
            "model": reader.model.full_name,
            "curves": {name: getattr(found, name) for name in names},
            "saved": str(parts.settings.database),
        }
    finally:
        parts.close()


def quality(
    model: str | None = None,
    *,
    run: str | os.PathLike[str] | None = None,
    questions: Sequence[str | Path] = (),
    documents: Sequence[str | Path] = (),
    question_set: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """Learns from questions with known answers what each strategy scores with a model, and how likely an outcome is
    right by what the text bears of it, and keeps both in its profile.

    Args:
        model: as for `Turnout`; `options` are its other settings (model_name, home, device, adapter).
        run: folder of an evaluation run with the router and the strategies. With `questions` it is made, or goes on,
            there; without them it must be finished.
        questions: files as for `turnout.evaluate.run`, with `documents`, `question_set`, `limit` and `seed`.
        engine: an engine of your own instead of `model`.

    Returns:
        See `turnout.router.calibration.quality_report.report`, as `support` `turnout.router.calibration.support.
        calibrate` with whether it `is_saved`, and the `model`, the counts of `questions`, `datasets` and `documents`,
        how many rows were scored by a verdict (`labelled`), the `run` and where it is `saved`.

    Raises:
        ConfigurationError: nothing to learn from, too little of it, or a run of another model.
        MissingExtraError: scikit-learn is not installed.
    """
    from turnout import evaluate
    from turnout.parts import Parts
    from turnout.router.calibration import quality as fitting
    from turnout.router.calibration import quality_report, quality_store, support
    from turnout.router.evaluation import labels
    from turnout.router.evaluation.rows import read_decisions, read_run
    from turnout.router.quality import BASE, prior
    from turnout.types import Budget

    if run is None and not questions:
        raise ConfigurationError(
            "there are no questions to learn from",
            hint="give --questions and --documents, or --run with a finished run",
        )
    settings = Settings.load(model=model, **options)
    folder = Path(run) if run is not None else settings.home / "calibration" / "quality"
    if questions:
        evaluate.run(
            questions,
            documents,
            folder,
            strategies=("router", *_STRATEGIES),
            question_set=question_set,
            limit=limit,
            seed=seed,
            engine=engine,
            progress=progress,
            model=model,
            **options,
        )
    done = read_run(folder)
    decisions = read_decisions(folder)
    parts = Parts(settings, engine, None, progress)
    try:
        reader = parts.engine.model
        measured = done.facts["model"]
        if measured["fingerprint"] != reader.fingerprint:
            raise ConfigurationError(
                f"{folder} was measured with {measured['name']}, not with {reader.full_name} as it is now",
                hint="give the model and adapter of the run, or run again",
            )
        scored, labelled = labels.applied(done.rows, labels.read(folder))
        observed = fitting.observe(scored, decisions)
        fitting.check_enough(observed)
        before = fitting.best_prior(prior(reader.parameters), observed)
        found = fitting.fit(before, observed)
        rows = {(row["question_id"], row["strategy"]): row for row in scored}
        limits = Budget(**done.facts["budget"])
        borne = support.calibrate(done.rows)
        told = quality_report.report(before, found, observed, rows, decisions, parts.profile, limits)
        quality_store.save(
            parts.database,
            reader.fingerprint,
            found,
            quality_store.Made(parts.prompt_format, parts.embedding, (BASE, *found.others), len(observed), _today()),
            borne.model,
        )
        return told | {
            "support": borne.report | {"is_saved": borne.model is not None},
            "model": reader.full_name,
            "questions": len(observed),
            "labelled": labelled,
            "datasets": len({each.dataset for each in observed}),
            "documents": len({each.group for each in observed}),
            "run": str(folder),
            "saved": str(settings.database),
        }
    finally:
        parts.close()


def attention(
    model: str | None = None,
    *,
    texts: str | os.PathLike[str] | None = None,
    max_tokens: int | None = None,
    min_recall: float | None = None,
    prompts: int = 2,
    repeats: int = 2,
    seed: int = 1,
    engine: Engine | None = None,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """Finds which attention policy reads prompts faster than dense attention, by length, and keeps it in the data
    directory, where the engine takes it from as long as nothing else is asked for.

    Args:
        model: as for `Turnout`, a local one; `options` are its other settings (home, device, adapter).
        texts: filler, see `turnout.router.calibration.filler.read_texts`; this project's documentation by default.
        max_tokens: of the longest prompt; by default 16 chunks, or what the window and the texts have.
        min_recall: least mean share of the dense softmax that a policy must keep; 0.95 by default.
        prompts: how many are measured, after one that tells which heads may stream.
        repeats: how often each chunk is timed.
        engine: a `LocalEngine` of your own instead of `model`.

    Returns:
        See `turnout.router.calibration.attention.measure`, and where it is `saved`.

    Raises:
        ConfigurationError: an option is wrong, the texts are too short, or the model runs on a server.
        DocumentError: the texts can't be read.
        ModelError: its keys and values do not lie in pages, or its heads have another size.
    """
    from turnout.engines import calibrated
    from turnout.engines.local import LocalEngine
    from turnout.engines.paged.policy import fitting
    from turnout.parts import Parts
    from turnout.router.calibration import attention as measuring
    from turnout.router.calibration.filler import default_texts, read_texts

    least = measuring.MIN_RECALL if min_recall is None else min_recall
    if not 0 < least <= 1:
        raise ConfigurationError(f"a recall of {least} can't be kept", hint="give a share above 0, up to 1")
    for name, value in (("prompts", prompts), ("repeats", repeats)):
        if value < 1:
            raise ConfigurationError(f"{name} is {value}", hint="give 1 or more")
    if options.get("attention") not in (None, ATTENTION_DENSE):
        raise ConfigurationError("what is calibrated is compared with dense attention", hint="leave --attention out")
    settings = Settings.load(model=model, **options | {"attention": ATTENTION_DENSE})
    filler = read_texts(Path(texts)) if texts is not None else default_texts()
    parts = Parts(settings, engine, None, progress)
    try:
        reader = parts.engine
        if not isinstance(reader, LocalEngine):
            raise ConfigurationError(
                f"the attention of {reader.model.name} is not ours to choose", hint="give a model on this machine"
            )
        for policy in measuring.candidates(reader.chunk):
            fitting(policy, reader.folder, reader.chunk)
        found = measuring.places(reader.chunk, measuring.longest(reader, filler, max_tokens))
        design = measuring.Design(found, prompts, repeats, least, seed)
        record = measuring.measure(reader, filler, design, lambda done, total: progress("measuring", done, total))
        settings.ensure_home()
        return record | {"saved": str(calibrated.save(settings.home, reader.dense_fingerprint, record))}
    finally:
        parts.close()


_STRATEGIES = ("rag", "full")


def _today() -> str:
    return time.strftime("%Y-%m-%d")


def _state_file(home: Path, model: str, identity: Mapping[str, Any]) -> Path:
    """One file for each calibration: another model, design or filler has another."""
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.")
    return home / "calibration" / f"{name}-{digest}.jsonl"

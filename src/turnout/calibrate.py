"""Calibrating: measure of a model what the router needs to know of it. Each function is a command of
`turnout calibrate`; see docs/evaluation.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout.config import Settings
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


def _state_file(home: Path, model: str, identity: Mapping[str, Any]) -> Path:
    """One file for each calibration: another model, design or filler has another."""
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.")
    return home / "calibration" / f"{name}-{digest}.jsonl"

"""Calibrating: measure of a model what the router needs to know of it. Each function is a command of
`turnout calibrate`; see docs/evaluation.md."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from turnout.config import Settings
from turnout.contracts import Engine, ReadsOnce
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
        sizes: document tokens; by default 256, 512, ... to 8,192, `max_size` or the window.
        documents: for each size and seed, with `questions` (at most 8) of each kind.
        seeds: how many, counted from `seed`.
        state: file that keeps each document's trials, so that the same call goes on after a stop.
        engine: an engine of your own instead of `model`.
        on_plan: called before the first prompt with `sizes`, `prompts`, `prompt_tokens`, `seconds` (None where the
            engine was never measured) and `texts_end` (the sizes end because the default texts do).

    Returns:
        The calibration as JSON types (see `turnout.router.calibration.store.WindowProfile`) and `saved`, where it is.

    Raises:
        ConfigurationError: an option is wrong, or the texts are too short.
        DocumentError: the texts can't be read.
    """
    from turnout.parts import Parts
    from turnout.router.calibration import plan
    from turnout.router.calibration.filler import default_texts, read_texts
    from turnout.router.calibration.store import save_window
    from turnout.router.calibration.tasks import check_kinds
    from turnout.router.calibration.window import Design, measure_window, read_with

    for name, value in (("documents", documents), ("questions", questions), ("seeds", seeds)):
        if value < 1:
            raise ConfigurationError(f"{name} is {value}", hint="give 1 or more")
    wanted = check_kinds(kinds)
    filler = read_texts(Path(texts)) if texts is not None else default_texts()
    parts = Parts(Settings.load(model=model, **options), engine, None, progress)
    try:
        reader = parts.engine
        fits = plan.largest_size(reader)
        chosen = plan.choose_sizes(
            fits, filler, reader.count_text, sizes=sizes, max_size=max_size, must_fill=texts is not None
        )
        design = Design(wanted, chosen, tuple(range(seed, seed + seeds)), documents, questions)
        reads_once = isinstance(reader, ReadsOnce)
        overhead = plan.overhead_tokens(reader)
        cost = plan.estimate(design, overhead, parts.profile, reads_once=reads_once)
        texts_end = not sizes and chosen[-1] < min(max_size or plan.LARGEST, fits)
        on_plan(dataclasses.asdict(cost) | {"sizes": list(chosen), "texts_end": texts_end})
        found = measure_window(
            read_with(reader),
            reader.count_text,
            filler,
            reader.model,
            design,
            progress=progress,
            state=Path(state) if state is not None else None,
        )
        save_window(parts.database, found)
        return found.to_dict() | {"saved": str(parts.settings.database)}
    finally:
        parts.close()

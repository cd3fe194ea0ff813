"""Measures how much text a model still uses well: asks questions on synthetic documents of growing size."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turnout.contracts import Engine, ReadsOnce
from turnout.errors import ConfigurationError, StoreError
from turnout.progress import Progress, silent
from turnout.router.calibration.filler import Count
from turnout.router.calibration.mecw import Tally, accuracy_interval, effective_window
from turnout.router.calibration.store import CurvePoint, KindWindow, WindowProfile
from turnout.router.calibration.synthetic import SyntheticDocument, filler_of, make_document
from turnout.router.calibration.tasks import CHANCE, PHRASINGS, Kind, grade
from turnout.types import Context, EngineEvent, GenerationParams, ModelInfo, Part, Span, Token

AnswerAll = Callable[[str, list[str]], list[str]]
"""Answers questions on one document, each by itself. One that reads the document once for all of them is far faster."""

NEW_TOKENS = 32
"""Room for three numbers in a whole sentence; a short answer ends by itself."""

Row = dict[str, Any]
"""One graded trial: seed, size, document, kind, phrasing, right, share, depth, answer."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is measured: each kind at each size with each seed, on `documents` documents of `questions` trials."""

    kinds: tuple[Kind, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    documents: int = 10
    questions: int = 5

    def places(self) -> list[tuple[int, int, int]]:
        """(seed, size, document) in the order of measuring: seed by seed, so that the time left is soon known."""
        return [(seed, size, index) for seed in self.seeds for size in self.sizes for index in range(self.documents)]


def read_with(engine: Engine) -> AnswerAll:
    """Answers with an engine: one prompt a question, or one reading of the document where the engine can do that."""
    params = GenerationParams(max_tokens=NEW_TOKENS)

    def answer(document: str, questions: list[str]) -> list[str]:
        parts = (Part(document, Span("synthetic", 0, len(document))),)
        contexts = [Context(parts, question) for question in questions]
        if isinstance(engine, ReadsOnce):
            return engine.answer_all(contexts, params)
        return [_text(engine.generate(context, params)) for context in contexts]

    return answer


def _text(events: Iterable[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


def measure_window(
    answer: AnswerAll,
    count: Count,
    texts: Sequence[str],
    model: ModelInfo,
    design: Design,
    *,
    progress: Progress = silent,
    state: Path | None = None,
) -> WindowProfile:
    """Asks every trial, grades it, and finds the maximum effective context window of each kind.

    Args:
        answer: see `AnswerAll` and `read_with`.
        count: tokens of a text in the reader's own tokens.
        texts: filler.
        progress: called with "calibrating" and prompt tokens.
        state: a file to which every document's graded trials are appended; the same call goes on where it stopped.

    Raises:
        ConfigurationError: the design can't be made from these texts, or `state` belongs to another calibration.
        StoreError: `state` can't be read or written.
    """
    rows = list(_measured(answer, count, texts, model, design, progress, state))
    today = time.strftime("%Y-%m-%d")
    return WindowProfile(
        model=model.name,
        fingerprint=model.fingerprint,
        window=model.window,
        sizes=design.sizes,
        seeds=design.seeds,
        documents=design.documents,
        questions=design.questions,
        texts=texts_fingerprint(texts),
        measured=today,
        kinds=tuple(
            _kind_window(kind, [row for row in rows if row["kind"] == kind], design, today) for kind in design.kinds
        ),
    )


def texts_fingerprint(texts: Sequence[str]) -> str:
    """Identifies filler by content."""
    joined = hashlib.sha256()
    for text in texts:
        joined.update(hashlib.sha256(text.encode()).digest())
    return joined.hexdigest()[:16]


# --- asking ----------------------------------------------------------------------------------------------------------


def _measured(
    answer: AnswerAll,
    count: Count,
    texts: Sequence[str],
    model: ModelInfo,
    design: Design,
    progress: Progress,
    state: Path | None,
) -> Iterator[Row]:
    filler = filler_of(texts)
    known = _resume(state, model, texts, design) if state is not None else {}
    asked = len(design.kinds) * design.questions
    total = asked * sum(size for seed, size, index in design.places() if (seed, size, index) not in known)
    done = 0
    for place in design.places():
        if place in known:
            yield from known[place]
            continue
        seed, size, index = place
        document = make_document(
            filler, count, size=size, seed=seed, index=index, kinds=design.kinds, questions=design.questions
        )
        rows = _asked(answer, document)
        if state is not None:
            _append(state, rows)
        done += asked * size
        progress("calibrating", done, total)
        yield from rows


def _asked(answer: AnswerAll, document: SyntheticDocument) -> list[Row]:
    rows = []
    answers = answer(document.text, [trial.question for trial in document.trials])
    for trial, text in zip(document.trials, answers, strict=True):
        right, share = grade(text, trial.kind, trial.expected, trial.distractors)
        rows.append(
            {
                "seed": document.seed,
                "size": document.size,
                "document": document.index,
                "kind": trial.kind,
                "phrasing": trial.phrasing,
                "right": right,
                "share": share,
                "depth": trial.depth,
                "answer": text,
            }
        )
    return rows


# --- the state file --------------------------------------------------------------------------------------------------


def _resume(
    state: Path, model: ModelInfo, texts: Sequence[str], design: Design
) -> dict[tuple[int, int, int], list[Row]]:
    """Rows by place of an earlier call; starts the file where there is none. A line that was torn is cut off."""
    head = {
        "calibration": "window/1",
        "model": model.fingerprint,
        "texts": texts_fingerprint(texts),
        "kinds": list(design.kinds),
        "sizes": list(design.sizes),
        "seeds": list(design.seeds),
        "documents": design.documents,
        "questions": design.questions,
    }
    try:
        content = state.read_text(encoding="utf-8") if state.exists() else ""
        whole = content[: content.rfind("\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            if content:
                raise ConfigurationError(f"{state} is no state of a calibration", hint="give another --state file")
            state.parent.mkdir(parents=True, exist_ok=True)
            whole, lines = json.dumps(head) + "\n", [head]
        if lines[0] == head and whole != content:
            state.write_text(whole, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(f"{state} can't be used as state: {error}", hint="give another --state file") from error
    if lines[0] != head:
        other = [name for name in head if not isinstance(lines[0], dict) or lines[0].get(name) != head[name]]
        raise ConfigurationError(
            f"{state} belongs to another calibration: {', '.join(other)} differ",
            hint="give the same options again, or another --state file",
        )
    return {(rows[0]["seed"], rows[0]["size"], rows[0]["document"]): rows for rows in lines[1:]}


def _append(state: Path, rows: list[Row]) -> None:
    """One line a document, so that a document is there wholly or not at all."""
    try:
        with state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")
    except OSError as error:
        raise StoreError(f"{state} can't be written: {error}", hint="free some space, then run it again") from error


# --- statistics ------------------------------------------------------------------------------------------------------


def _kind_window(kind: Kind, rows: list[Row], design: Design, measured: str) -> KindWindow:
    sizes = design.sizes
    pooled = effective_window(sizes, [_tally(rows, size) for size in sizes], CHANCE[kind])
    p_values = (None, *pooled.p_values)
    curve = [_point(rows, size, "all", p) for size, p in zip(sizes, p_values, strict=True)]
    curve += [_point(rows, size, phrasing, None) for phrasing in PHRASINGS for size in sizes]

    def alone(phrasing: str = "all", seed: int | None = None) -> int | None:
        tallies = [_tally(rows, size, phrasing, seed) for size in sizes]
        if not all(len(tally.trials) for tally in tallies):
            return None
        return effective_window(sizes, tallies, CHANCE[kind], interval=False).mecw

    return KindWindow(
        kind=kind,
        mecw=pooled.mecw,
        low=pooled.low,
        high=pooled.high,
        per_seed=tuple(alone(seed=seed) for seed in design.seeds),
        per_phrasing={phrasing: alone(phrasing) for phrasing in PHRASINGS},
        is_largest=pooled.mecw == sizes[-1],
        reason=pooled.reason,
        measured=measured,
        curve=tuple(point for point in curve if point.trials),
    )


def _tally(rows: list[Row], size: int, phrasing: str = "all", seed: int | None = None) -> Tally:
    right: dict[tuple[int, int], list[bool]] = {}
    for row in rows:
        if row["size"] == size and seed in (None, row["seed"]) and phrasing in ("all", row["phrasing"]):
            right.setdefault((row["seed"], row["document"]), []).append(row["right"])
    return Tally(
        np.array([sum(values) for values in right.values()], dtype=float),
        np.array([len(values) for values in right.values()], dtype=float),
    )


def _point(rows: list[Row], size: int, phrasing: str, p_value: float | None) -> CurvePoint:
    tally = _tally(rows, size, phrasing)
    trials = int(tally.trials.sum())
    if not trials:
        return CurvePoint(size, phrasing, 0, 0.0, 0.0, 0.0, 0.0)
    shares = [row["share"] for row in rows if row["size"] == size and phrasing in ("all", row["phrasing"])]
    low, high = accuracy_interval(tally)
    return CurvePoint(
        size=size,
        phrasing=phrasing,
        trials=trials,
        accuracy=round(tally.accuracy, 4),
        low=round(low, 4),
        high=round(high, 4),
        share=round(sum(shares) / len(shares), 4),
        p_value=p_value,
    )

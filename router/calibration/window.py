"""Measures how much text a model still uses well: asks questions on synthetic documents of growing size."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from turnout.contracts import Engine, ReadsOnce
from turnout.documents import Span
from turnout.progress import Progress, silent
from turnout.router.calibration.filler import Count
from turnout.router.calibration.mecw import Tally, effective_window, score_interval
from turnout.router.calibration.state import Place, Row, TrialStore, rows_of
from turnout.router.calibration.store import FEW_DOCUMENTS, CurvePoint, KindWindow, WindowProfile
from turnout.router.calibration.synthetic import SyntheticDocument, filler_of, make_document
from turnout.router.calibration.tasks import CHANCE, PHRASINGS, Kind
from turnout.types import Context, EngineEvent, GenerationParams, ModelInfo, Part, Token

AnswerAll = Callable[[str, list[str]], list[str]]
"""Answers questions on one document, each by itself. One that reads the document once for all of them is far faster."""

NEW_TOKENS = 32
"""Room for three numbers in a whole sentence; a short answer ends by itself."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is measured: each kind at each size with each seed, on `documents` documents of `questions` trials."""

    kinds: tuple[Kind, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    documents: int = 10
    questions: int = 5

    def places(self) -> list[Place]:
        """In the order of measuring: seed by seed, so that the time left is soon known."""
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
    weights: Mapping[int, float] | None = None,
    store: TrialStore | None = None,
) -> WindowProfile:
    """Asks every trial, grades it, and finds the maximum effective context window of each kind.

    Args:
        answer: see `AnswerAll` and `read_with`.
        count: tokens of a text in the reader's own tokens.
        texts: filler.
        progress: called with "calibrating" and what was done of the work that was left, in `weights`.
        weights: work of a document by its size, for example `plan.weights`; every document counts as 1 by default.
        store: open; answers that it holds are not asked for again, and new ones are added.

    Raises:
        ConfigurationError: the design can't be made from these texts.
        StoreError: `store` can't be written.
    """
    rows = list(_measured(answer, count, texts, design, progress, weights or dict.fromkeys(design.sizes, 1.0), store))
    fingerprint = texts_fingerprint(texts)
    return WindowProfile(
        model=model.name,
        fingerprint=model.fingerprint,
        window=model.window,
        kinds=tuple(
            _kind_window(kind, [row for row in rows if row["kind"] == kind], design, fingerprint)
            for kind in design.kinds
        ),
    )


def head(design: Design, model: ModelInfo, texts: Sequence[str], prompt_format: str) -> dict[str, Any]:
    """What answers depend on: the head of a state file.

    Args:
        prompt_format: name of the wording that the engine asks with.
    """
    return {
        "calibration": "window/3",
        "model": model.fingerprint,
        "prompt_format": prompt_format,
        "new_tokens": NEW_TOKENS,
        "texts": texts_fingerprint(texts),
        "kinds": list(design.kinds),
        "sizes": list(design.sizes),
        "seeds": list(design.seeds),
        "documents": design.documents,
        "questions": design.questions,
    }


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
    design: Design,
    progress: Progress,
    weights: Mapping[int, float],
    store: TrialStore | None,
) -> Iterator[Row]:
    filler = filler_of(texts)
    known = store.known if store is not None else {}
    total = sum(weights[size] for seed, size, index in design.places() if (seed, size, index) not in known)
    done = 0.0
    for place in design.places():
        if place in known:
            yield from known[place]
            continue
        seed, size, index = place
        document = make_document(
            filler, count, size=size, seed=seed, index=index, kinds=design.kinds, questions=design.questions
        )
        line = _asked(answer, document)
        if store is not None:
            store.add(line)
        done += weights[size]
        progress("calibrating", round(done), round(total))
        yield from rows_of(line)


def _asked(answer: AnswerAll, document: SyntheticDocument) -> dict[str, Any]:
    """The line of a state file."""
    answers = answer(document.text, [trial.question for trial in document.trials])
    return {
        "seed": document.seed,
        "size": document.size,
        "document": document.index,
        "measured": time.strftime("%Y-%m-%d"),
        "trials": [
            {
                "kind": trial.kind,
                "phrasing": trial.phrasing,
                "expected": list(trial.expected),
                "beside": list(trial.beside),
                "depth": trial.depth,
                "answer": text,
            }
            for trial, text in zip(document.trials, answers, strict=True)
        ],
    }


# --- statistics ------------------------------------------------------------------------------------------------------


def _kind_window(kind: Kind, rows: list[Row], design: Design, texts: str) -> KindWindow:
    sizes = design.sizes
    pooled = effective_window(sizes, [_tally(rows, size) for size in sizes], CHANCE[kind])
    p_values = (None, *pooled.p_values)
    curve = [_point(rows, size, "all", p) for size, p in zip(sizes, p_values, strict=True)]
    curve += [_point(rows, size, phrasing, None) for phrasing in PHRASINGS for size in sizes]

    def alone(phrasing: str = "all", seed: int | None = None) -> int | None:
        tallies = [_tally(rows, size, phrasing, seed) for size in sizes]
        if not all(len(tally.trials) for tally in tallies):
            return None
        return effective_window(sizes, tallies, CHANCE[kind], resample=False).mecw

    return KindWindow(
        kind=kind,
        mecw=pooled.mecw,
        low=pooled.low,
        high=pooled.high,
        per_seed=tuple(alone(seed=seed) for seed in design.seeds),
        per_phrasing={phrasing: alone(phrasing) for phrasing in PHRASINGS},
        is_largest=pooled.mecw == sizes[-1],
        few_documents=len(design.seeds) * design.documents < FEW_DOCUMENTS,
        reason=pooled.reason,
        measured=max(row["measured"] for row in rows),
        sizes=sizes,
        seeds=design.seeds,
        documents=design.documents,
        questions=design.questions,
        texts=texts,
        curve=tuple(point for point in curve if point.trials),
    )


def _chosen(rows: list[Row], size: int, phrasing: str, seed: int | None = None) -> list[Row]:
    return [
        row
        for row in rows
        if row["size"] == size and seed in (None, row["seed"]) and phrasing in ("all", row["phrasing"])
    ]


def _tally(rows: list[Row], size: int, phrasing: str = "all", seed: int | None = None) -> Tally:
    """By document, in the same order at every size."""
    scores: dict[tuple[int, int], list[float]] = {}
    for row in _chosen(rows, size, phrasing, seed):
        scores.setdefault((row["seed"], row["document"]), []).append(row["share"])
    return Tally(
        np.array([sum(values) for values in scores.values()], dtype=float),
        np.array([len(values) for values in scores.values()], dtype=float),
    )


def _point(rows: list[Row], size: int, phrasing: str, p_value: float | None) -> CurvePoint:
    tally = _tally(rows, size, phrasing)
    right = [row["right"] for row in _chosen(rows, size, phrasing)]
    if not right:
        return CurvePoint(size, phrasing, 0, 0.0, 0.0, 0.0, 0.0)
    low, high = score_interval(tally)
    return CurvePoint(
        size=size,
        phrasing=phrasing,
        trials=len(right),
        score=round(tally.mean, 4),
        low=round(low, 4),
        high=round(high, 4),
        accuracy=round(sum(right) / len(right), 4),
        p_value=p_value,
    )

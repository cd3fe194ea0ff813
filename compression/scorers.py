"""Baselines: how much an answer wants each unit, by the question's words or by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from turnout.compression.selection import PassageScores
from turnout.compression.units import BY_RULES, Cuts, Unit
from turnout.contracts import Embedder
from turnout.progress import Watch
from turnout.retrieval.lexical import LexicalIndex
from turnout.retrieval.vectors import of_question

TOGETHER = 32
"""Passages whose sentences are embedded at once."""

VERSION = "1"
"""Of how texts are cut and scored; part of the fingerprints."""


class ByWords:
    """BM25 of each unit among all that are scored together, over the best of them; so not to be cached."""

    name = "words"
    threshold = 0.3  # by hand, not measured: about one of three words that matter
    fingerprint = f"words/{VERSION}"

    def __init__(self, cuts: Cuts = BY_RULES) -> None:
        self._cuts = cuts

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        units, texts = _cut(passages, self._cuts)
        scores = LexicalIndex(texts).scores(question) if texts else np.zeros(0, np.float32)
        best = float(scores.max(initial=0.0)) or 1.0
        return _split(units, (scores / best).tolist())


class ByMeaning:
    """The cosine of each unit with the question, below 0 counted as 0."""

    name = "meaning"
    threshold = 0.2  # by hand, not measured

    def __init__(self, embedder: Embedder, cuts: Cuts = BY_RULES) -> None:
        self._embedder, self._cuts = embedder, cuts

    @property
    def fingerprint(self) -> str:
        return f"meaning/{VERSION}/{self._embedder.fingerprint}"

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        watch = watch or Watch()
        asked = None
        for first in range(0, len(passages), TOGETHER):
            watch.go_on()
            units, texts = _cut(passages[first : first + TOGETHER], self._cuts)
            if texts and asked is None:
                asked = of_question(self._embedder, question)
            cosines = self._embedder.embed(texts) @ asked if asked is not None and texts else np.zeros(0, np.float32)
            yield from _split(units, np.maximum(cosines, 0.0).tolist())


def _cut(passages: Sequence[str], cuts: Cuts) -> tuple[list[tuple[Unit, ...]], list[str]]:
    """The units of each passage, and the texts of all of them."""
    units = [cuts(text) for text in passages]
    return units, [text[unit.start : unit.end] for text, each in zip(passages, units, strict=True) for unit in each]


def _split(units: Sequence[Sequence[Unit]], scores: Sequence[float]) -> Iterator[PassageScores]:
    """The scores of all units as those of their passages; a passage is as relevant as its best unit."""
    left: Iterator[float] = iter(scores)
    for each in units:
        mine = tuple(next(left) for _ in each)
        yield PassageScores(max(mine, default=0.0), tuple(each), mine)

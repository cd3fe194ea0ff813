"""The sentence pruner: one pass a passage says which of its sentences an answer wants, and how relevant it is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.compression.cross_encoder import CARD, WEIGHTS, CrossEncoder
from turnout.compression.selection import THRESHOLD, PassageScores
from turnout.compression.units import BY_RULES, Cuts, Unit
from turnout.errors import ModelError
from turnout.progress import Watch
from turnout.retrieval.embedder_folder import EmbedderFolder, has_fast_bf16

if TYPE_CHECKING:
    from turnout.contracts import UnitScorer

SHIPPED = Path(__file__).parent / "weights" / "pruner1"
VERSION = "1"
"""Of how units are cut and scored; part of the fingerprint."""


class Pruner:
    """Scores by a cross-encoder. A unit's score is the middle one of its tokens': it is at least the threshold where
    more than half of the tokens are, which is Provence's rounding to sentences.

    Args:
        embedder: folder of the encoder.
        weights: folder of the trained weights; those that come with the package by default.
        device: "cpu", "cuda" or None for the best one here.
        cuts: what cuts passages into the units that are scored.
    """

    name = "pruner"
    threshold = THRESHOLD

    def __init__(
        self, embedder: Path, weights: Path = SHIPPED, device: str | None = None, cuts: Cuts = BY_RULES
    ) -> None:
        self._cuts = cuts
        self._embedder, self._weights, self._device = embedder, weights, device
        self._lock = threading.Lock()
        self._encoder: CrossEncoder | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Of weights, encoder and number format.

        Raises:
            ModelError: the weights are missing.
        """
        digest = hashlib.sha256(f"pruner {VERSION} {self._dtype}".encode())
        for name in (WEIGHTS, CARD):
            file = self._weights / name
            if not file.is_file():
                raise ModelError(f"{file} is missing", hint="turnout train pruner makes it")
            digest.update(file.read_bytes())
        for _, path in self._folder.identity():
            with path.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()

    def open(self) -> None:
        """Loads the model; `score` does so by itself at first use.

        Raises:
            ModelError: files are missing or damaged, or do not belong together.
            MissingExtraError: torch or transformers is not installed.
        """
        with self._lock:
            self._opened()

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        """See `UnitScorer.score`.

        Raises:
            ModelError, MissingExtraError: see `open`.
        """
        watch = watch or Watch()
        first = 0
        while first < len(passages):
            # Tokenizers and the model's buffers are not safe to share between threads.
            with self._lock:
                found = self._batch(question, passages[first:], watch)
            yield from found
            first += len(found)

    def _batch(self, question: str, passages: Sequence[str], watch: Watch) -> list[PassageScores]:
        """Of the first passages: as many as fit a pass, and at least one."""
        encoder = self._opened()
        asked, _ = encoder.encode(question)
        encoded: list[tuple[list[int], list[tuple[int, int]]]] = []
        tokens = 0
        for text in passages:
            encoded.append(encoder.encode(text))
            tokens += len(encoded[-1][0])
            if tokens >= encoder.batch_tokens:
                break
        units = [self._cuts(text) for text in passages[: len(encoded)]]
        members = [_members(each, offsets) for each, (_, offsets) in zip(units, encoded, strict=True)]
        cuts = [_cuts(each) for each in members]
        keep, relevance = encoder.scores(asked, [ids for ids, _ in encoded], cuts, watch)
        return [
            PassageScores(whole, each, tuple(_middle(wanted[first:last]) for first, last in inside))
            for each, inside, wanted, whole in zip(units, members, keep, relevance, strict=True)
        ]

    def _opened(self) -> CrossEncoder:
        if self._encoder is None:
            self._encoder = CrossEncoder.load(self._folder, self._weights, self._device, self._dtype)
        return self._encoder

    @cached_property
    def _folder(self) -> EmbedderFolder:
        found = EmbedderFolder.read(self._embedder)
        if not found.is_bert:
            raise ModelError(
                f"{self._embedder} is not a BERT encoder, which the pruner's weights belong to",
                hint="use the default embedder's folder",
            )
        return found

    @cached_property
    def _dtype(self) -> str:
        return "bfloat16" if has_fast_bf16() else "float32"


def _members(units: Sequence[Unit], offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """[first, last) of the tokens that begin in each unit."""
    starts = np.array([start for start, _ in offsets] or [0])
    return [
        (int(first), int(last))
        for first, last in zip(
            np.searchsorted(starts, [unit.start for unit in units]),
            np.searchsorted(starts, [unit.end for unit in units]),
            strict=True,
        )
    ]


def _cuts(members: Sequence[tuple[int, int]]) -> list[int]:
    return [first for first, _ in members]


def _middle(scores: NDArray[np.float32]) -> float:
    """The lower median: at least a threshold where more than half of the scores are; 0 of none."""
    return float(np.sort(scores)[(len(scores) - 1) // 2]) if len(scores) else 0.0


if TYPE_CHECKING:
    _: type[UnitScorer] = Pruner

"""The embedder: a sentence-transformers folder, run without its five seconds of imports where that is possible."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ModelError
from turnout.retrieval.embedder_folder import EmbedderFolder, has_fast_bf16
from turnout.retrieval.vectors import checked

if TYPE_CHECKING:
    from turnout.contracts import Embedder

Progress = Callable[[int], None]

FILLED = 0.85
"""Of the model's window, at most, that texts read together are planned to fill: their tokens are estimated."""


class Encoder(Protocol):
    """Runs an embedding model: texts to [texts, dimension] float32, rows of length 1."""

    def encode(self, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]: ...


class SentenceEmbedder:
    """A sentence-transformers model folder. Text is embedded as it is; texts longer than the model's window are read
    window by window and averaged by tokens, never cut silently (on the BERT path; see `BertEncoder`).

    Args:
        folder: holds modules.json, config.json, tokenizer.json and safetensors weights.
        device: "cpu", "cuda" or None for the best one here.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.folder = folder
        self.device = device
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @cached_property
    def _files(self) -> EmbedderFolder:
        return EmbedderFolder.read(self.folder)

    @cached_property
    def _dtype(self) -> str:
        return "bfloat16" if self._files.is_bert and has_fast_bf16() else "float32"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every file that decides the vectors, the number format and the way they are run."""
        digest = hashlib.sha256(f"{self._dtype} {'bert' if self._files.is_bert else 'library'} 1".encode())
        for name, path in self._files.identity():
            digest.update(f"\n{name} ".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @property
    def dimension(self) -> int:
        return self._files.dimension

    def open(self) -> None:
        """Loads the model; `embed` does so by itself at first use.

        Raises:
            ModelError: files are missing, damaged, or of a kind that is refused (remote code, pickle).
            MissingExtraError: torch or transformers is not installed.
        """
        with self._lock:
            self._opened()

    def close(self) -> None:
        with self._lock:
            self._encoder = None

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """[len(texts), dimension], rows of length 1. `progress` is called with the number of texts just done.

        Raises:
            ModelError: see `open`; or the model produced values that are not numbers.
        """
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        # Tokenizers and the model's buffers are not safe to share between threads.
        with self._lock:
            vectors = self._opened().encode(texts, progress or (lambda _done: None))
        return checked(vectors, len(texts), self.dimension)

    @property
    def together_tokens(self) -> int | None:
        """See `EmbedsTogether`: BERT encoders with mean pooling can do it."""
        return int(FILLED * self._files.positions) if self._files.is_bert else None

    def embed_together(self, texts: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Of each text, which is given in pieces without gaps, [pieces, dimension], rows of length 1: each piece's
        vector where the model has read the whole text. See `BertEncoder.encode_together`.

        Raises:
            ModelError: see `embed`; or the model averages in no way that is known here.
        """
        from turnout.retrieval.bert_encoder import BertEncoder

        with self._lock:
            encoder = self._opened()
            if not isinstance(encoder, BertEncoder):
                raise ModelError(
                    f"{self.folder} is no BERT encoder with mean pooling, whose texts could be cut afterwards",
                    hint="leave late chunking out, or use another embedder",
                )
            found = encoder.encode_together(texts)
        for vectors, pieces in zip(found, texts, strict=True):
            checked(vectors, len(pieces), self.dimension)
        return found

    def _opened(self) -> Encoder:
        if self._encoder is None:
            if self._files.is_bert:
                from turnout.retrieval.bert_encoder import BertEncoder

                self._encoder = BertEncoder.load(self._files, self.device, self._dtype)
            else:
                from turnout.retrieval.library_encoder import LibraryEncoder

                self._encoder = LibraryEncoder.load(self._files, self.device)
        return self._encoder


if TYPE_CHECKING:
    _: type[Embedder] = SentenceEmbedder

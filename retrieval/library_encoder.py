"""Any other sentence-transformers folder, run by the library itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import MissingExtraError, ModelError
from turnout.retrieval.embed import Progress
from turnout.retrieval.embedder_folder import EmbedderFolder

_STEP = 64


class LibraryEncoder:
    """Wraps `sentence_transformers.SentenceTransformer`. Its own `max_seq_length` holds: text beyond it is not read."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def load(cls, folder: EmbedderFolder, device: str | None) -> LibraryEncoder:
        """Loads the folder, offline, without remote code and from safetensors alone.

        Raises:
            ModelError: the library can't load it.
            MissingExtraError: sentence-transformers is not installed.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("this embedder", "local") from error
        try:
            model = SentenceTransformer(
                str(folder.path),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:
            raise ModelError(f"{folder.path} can't be loaded: {error}", hint="turnout models verify") from error
        return cls(model)

    def encode(self, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]:
        """[len(texts), dimension] float32, rows of length 1."""
        blocks = []
        for start in range(0, len(texts), _STEP):
            block = list(texts[start : start + _STEP])
            blocks.append(
                self._model.encode(
                    block, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
                ).astype(np.float32, copy=False)
            )
            progress(len(block))
        return np.concatenate(blocks)

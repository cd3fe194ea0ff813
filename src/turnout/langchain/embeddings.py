"""Embeddings both ways: ours for LangChain, and LangChain's for a library of ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from turnout.client import Turnout
from turnout.config import model_name_of
from turnout.langchain.errors import shaped
from turnout.langchain.opened import Opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TurnoutEmbeddings(Embeddings):
    """The embedder of a library: vectors of length 1, of texts as they are.

    Args:
        turnout: one that is open already, to share its embedder.
        home: data directory, where there is none.
    """

    def __init__(self, turnout: Turnout | None = None, *, home: str | os.PathLike[str] | None = None) -> None:
        self._opened = Opened.of(turnout, home=home)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of texts."""
        with shaped():
            return self._opened.turnout().embed(texts)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text to search for."""
        with shaped():
            return self._opened.turnout().embed([text], questions=True)[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, without blocking the event loop."""
        with shaped():
            return await self._opened.turnout().aembed(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, without blocking the event loop."""
        with shaped():
            return (await self._opened.turnout().aembed([text], questions=True))[0]

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()


class ForeignEmbedder:
    """Any LangChain Embeddings as the embedder of a library: `Turnout(embedder=ForeignEmbedder(OpenAIEmbeddings()))`.

    Args:
        embeddings: asked for vectors; they are brought to length 1.
        name: tells its vectors from others in the library; class and model by default. Give one where two models would
            share it.
    """

    def __init__(self, embeddings: Embeddings, name: str | None = None) -> None:
        self._embeddings = embeddings
        self._name = name

    @property
    def name(self) -> str:
        """As it was given, or else class and model."""
        kind = f"{type(self._embeddings).__module__}.{type(self._embeddings).__qualname__}"
        return self._name or f"{kind} {model_name_of(self._embeddings)}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name and the dimension."""
        return hashlib.sha256(f"langchain\0{self.name}\0{self.dimension}".encode()).hexdigest()

    @cached_property
    def dimension(self) -> int:
        """Asked for once, with one word."""
        return len(self._embeddings.embed_query("dimension"))

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """[len(texts), dimension], rows of length 1."""
        import numpy as np

        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors = _units(self._embeddings.embed_documents(list(texts)))
        if progress is not None:
            progress(len(texts))
        return vectors

    def embed_question(self, question: str) -> NDArray[np.float32]:
        """[dimension], of length 1, as a query: many models read queries otherwise than texts."""
        vector: NDArray[np.float32] = _units([self._embeddings.embed_query(question)])[0]
        return vector


def _units(vectors: list[list[float]]) -> NDArray[np.float32]:
    import numpy as np

    rows: NDArray[np.float32] = np.asarray(vectors, np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=-1, keepdims=True)
    units: NDArray[np.float32] = rows / np.where(lengths > 0, lengths, np.float32(1))
    return units

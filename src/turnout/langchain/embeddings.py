"""Embeddings both ways: ours for LangChain, and LangChain's for a library of ours."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from turnout.client import Turnout
from turnout.langchain.errors import shaped
from turnout.langchain.opened import Opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NAMES = ("model_name", "model", "model_id", "deployment", "repo_id")


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
        """The vector of a text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, without blocking the event loop."""
        with shaped():
            return await self._opened.turnout().aembed(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, without blocking the event loop."""
        return (await self.aembed_documents([text]))[0]

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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name and the dimension."""
        kind = f"{type(self._embeddings).__module__}.{type(self._embeddings).__qualname__}"
        named: list[Any] = [getattr(self._embeddings, name, None) for name in _NAMES]
        model = next((value for value in named if isinstance(value, str)), "")
        identity = self._name or f"{kind} {model}"
        return hashlib.sha256(f"langchain\0{identity}\0{self.dimension}".encode()).hexdigest()

    @cached_property
    def dimension(self) -> int:
        """Asked for once, with one word."""
        return len(self._embeddings.embed_query("dimension"))

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """[len(texts), dimension], rows of length 1."""
        import numpy as np

        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors: NDArray[np.float32] = np.asarray(self._embeddings.embed_documents(list(texts)), np.float32)
        if progress is not None:
            progress(len(texts))
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=-1, keepdims=True)
        units: NDArray[np.float32] = vectors / np.where(lengths > 0, lengths, np.float32(1))
        return units

"""The compressor: what a query wants of documents that any retriever has found, word for word."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import override

from turnout.asking import BETWEEN, Excerpt
from turnout.client import Turnout
from turnout.documents import Text
from turnout.langchain import call
from turnout.langchain.errors import shaped
from turnout.langchain.opened import Opened


class TurnoutCompressor(BaseDocumentCompressor):
    """Keeps the sentences of documents that a query wants, and leaves out documents that it wants nothing of.

    A document keeps its id and its metadata. What is left of its text are sentences as they stand there, blank lines
    between those that are apart; `spans` in the metadata holds their [start, end) in characters of what it was.

    Attributes:
        turnout: one that is open already, to share its embedder and model.
        home: data directory, where there is none.
        strategy: "extract", or what asks the model: "extract:exit", "extract:code", "extract:draft"
            (docs/compression.md).
        threshold: score, 0 to 1, from which a sentence is kept; the scorer's own by default.
        max_tokens: most that is kept of all documents together, the best first; no limit by default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    turnout: Turnout | None = Field(default=None, exclude=True, repr=False)
    home: str | os.PathLike[str] | None = None
    strategy: str = "extract"
    threshold: float | None = None
    max_tokens: int | None = None

    _opened: Opened = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return call.known_fields(cls, values)

    def model_post_init(self, context: Any, /) -> None:
        """Stores what is given; nothing is opened."""
        super().model_post_init(context)
        self._opened = Opened.of(self.turnout, home=self.home)

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()

    @override
    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """What the query wants of the documents, in their order; the documents themselves are not changed.

        Raises:
            RequestError: the query is empty, or an option can't be meant.
            EngineFailure: the model failed or is not here.
        """
        with shaped():
            found = self._opened.turnout().compress(query, _texts(documents), **self._options())
        return _compressed(documents, found)

    @override
    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """As `compress_documents`, without blocking the event loop."""
        with shaped():
            found = await self._opened.turnout().acompress(query, _texts(documents), **self._options())
        return _compressed(documents, found)

    def _options(self) -> dict[str, Any]:
        return {"strategy": self.strategy, "threshold": self.threshold, "max_tokens": self.max_tokens}


def _texts(documents: Sequence[Document]) -> list[Text]:
    return [Text(document.page_content, _title(document)) for document in documents]


def _title(document: Document) -> str:
    """Its suffix tells the language of source code."""
    return str(document.metadata.get("title") or document.metadata.get("source") or "document")


def _compressed(documents: Sequence[Document], found: Sequence[Sequence[Excerpt]]) -> list[Document]:
    return [
        Document(
            page_content=BETWEEN.join(excerpt.text for excerpt in kept),
            id=document.id,
            metadata={**document.metadata, "spans": [[excerpt.start, excerpt.end] for excerpt in kept]},
        )
        for document, kept in zip(documents, found, strict=True)
        if kept
    ]

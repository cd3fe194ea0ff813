"""The retriever: passages of documents, found by words and by meaning, or by a model that reads them."""

from __future__ import annotations

import os
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from turnout.asking import Hit
from turnout.client import Turnout
from turnout.inputs import Input
from turnout.langchain import call, sources
from turnout.langchain.errors import RequestError, shaped
from turnout.langchain.opened import Opened


class TurnoutRetriever(BaseRetriever):
    """Finds the passages of documents that match a query, best first.

    A passage says where it stands: `document_id`, `start`, `end`, `line`, `page` and `place` in its metadata, beside
    what was given with the document.

    Attributes:
        turnout: one that is open already, to share its library and embedder.
        home: data directory, where there is none.
        documents: what to search: paths, texts, documents of LangChain or of the library; also in a call.
        collection: a collection of the library to search instead; also in a call.
        k: most passages; also in a call.
        retriever: "hybrid", by words and meaning, which asks no model; "ldar", by meaning as far as a policy says
            (TURNOUT_LDAR); "attention" or "chunkfree", for which the model, one that this machine runs, reads
            everything (docs/decision.md).
        model: for the last two, where there is no `turnout`; the default one without a name.
    """

    turnout: Turnout | None = Field(default=None, exclude=True, repr=False)
    home: str | os.PathLike[str] | None = None
    documents: Any = Field(default=None, repr=False)
    collection: str | None = None
    k: int = 4
    retriever: Literal["hybrid", "ldar", "attention", "chunkfree"] = "hybrid"
    model: str | None = None

    _opened: Opened = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        return call.known_fields(cls, values)

    def model_post_init(self, context: Any, /) -> None:
        """Stores what is given; nothing is opened."""
        super().model_post_init(context)
        self.documents, _ = sources.chosen(self.documents, self.collection)
        self._opened = Opened.of(self.turnout, home=self.home, model=self.model)

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()

    @override
    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun | None = None,
        k: int | None = None,
        documents: Any = None,
        collection: str | None = None,
    ) -> list[Document]:
        with shaped():
            asked, of = self._asked(documents, collection)
            found = self._opened.turnout().search(query, asked, self._limit(k), collection=of, retriever=self.retriever)
        return [_document(hit) for hit in found]

    @override
    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun | None = None,
        k: int | None = None,
        documents: Any = None,
        collection: str | None = None,
    ) -> list[Document]:
        with shaped():
            asked, of = self._asked(documents, collection)
            found = await self._opened.turnout().asearch(
                query, asked, self._limit(k), collection=of, retriever=self.retriever
            )
        return [_document(hit) for hit in found]

    def _asked(self, documents: Any, collection: str | None) -> tuple[list[Input] | None, str | None]:
        called = sources.chosen(documents, collection)
        asked = (self.documents, self.collection) if called == (None, None) else called
        if asked == (None, None):
            raise sources.no_documents()
        return asked

    def _limit(self, k: int | None) -> int:
        limit = self.k if k is None else k
        if limit < 1:
            raise RequestError(f"k is {limit}", hint="ask for at least one passage")
        return limit


def _document(hit: Hit) -> Document:
    place = {"document_id": hit.document.id, "start": hit.start, "end": hit.end, "line": hit.line, "place": hit.place}
    if hit.page is not None:
        place["page"] = hit.page
    about = {"source": hit.document.source, "title": hit.document.title, **hit.metadata}
    return Document(
        page_content=hit.text,
        id=f"{hit.document.id[:32]}-{hit.start}-{hit.end}",
        metadata={**about, **place, "score": hit.score},
    )

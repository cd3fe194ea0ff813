"""The retriever: passages of documents, found by words and by meaning."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PrivateAttr
from typing_extensions import override

from turnout.asking import Hit
from turnout.client import Turnout
from turnout.inputs import Input
from turnout.langchain import sources
from turnout.langchain.errors import RequestError, shaped
from turnout.langchain.opened import Opened


class TurnoutRetriever(BaseRetriever):
    """Finds the passages of documents that match a query, best first. No model is asked.

    A passage says where it stands: `document_id`, `start`, `end`, `line`, `page` and `place` in its metadata, beside
    what was given with the document.

    Attributes:
        turnout: one that is open already, to share its library and embedder.
        home: data directory, where there is none.
        documents: what to search: paths, texts, documents of LangChain or of the library; also in a call.
        collection: a collection of the library to search instead; also in a call.
        k: most passages; also in a call.
    """

    turnout: Turnout | None = Field(default=None, exclude=True)
    home: str | os.PathLike[str] | None = None
    documents: Any = None
    collection: str | None = None
    k: int = 4

    _opened: Opened = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Stores what is given; nothing is opened."""
        super().model_post_init(context)
        self.documents = sources.listed(self.documents)
        self._opened = Opened.of(self.turnout, home=self.home)

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
            turnout, limit = self._opened.turnout(), self._limit(k)
            asked = self._asked(documents, collection)
            return [_document(hit) for hit in turnout.search(query, asked, limit)]

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
            turnout, limit = self._opened.turnout(), self._limit(k)
            asked = await asyncio.to_thread(self._asked, documents, collection)
            return [_document(hit) for hit in await turnout.asearch(query, asked, limit)]

    def _asked(self, documents: Any, collection: str | None) -> list[Input]:
        given = sources.listed(documents) if documents is not None or collection is not None else self.documents
        return sources.resolve(self._opened.turnout(), given, collection or self.collection)

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

"""The loader: files of every kind that turnout reads, as documents of LangChain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from turnout import documents
from turnout.client import Turnout
from turnout.inputs import Input
from turnout.langchain.errors import shaped
from turnout.langchain.opened import Opened


class TurnoutLoader(BaseLoader):
    """Reads PDF, DOCX, HTML, Markdown, text and code, one document at a time; nothing is kept.

    Args:
        inputs: paths, folders, globs, `Text` or bytes.
        by_page: one document for each page, where the source has pages, instead of one for each file.
        turnout: one that is open already; what its library has read before is not converted again.
        home: data directory, where there is none.
    """

    def __init__(
        self,
        *inputs: Input,
        by_page: bool = False,
        turnout: Turnout | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self._inputs = inputs
        self._by_page = by_page
        self._opened = Opened.of(turnout, home=home)

    def lazy_load(self) -> Iterator[Document]:
        """The documents, each with `source`, `title`, `kind` and `document_id` in its metadata, and `start` and `end`
        of its text in the whole; `pages` counts those of the source, `page` is the one that the text is on.

        Raises:
            RequestError: the next one can't be read.
        """
        with shaped():
            for document in self._opened.turnout().load(*self._inputs):
                yield from _pages(document) if self._by_page and document.pages else [_part(document)]

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()


def _pages(document: documents.Document) -> Iterator[Document]:
    ends = [*document.pages[1:], len(document.text)]
    for number, (start, end) in enumerate(zip(document.pages, ends, strict=True), start=1):
        if document.text[start:end].strip():
            yield _part(document, start, end, page=number)


def _part(document: documents.Document, start: int = 0, end: int | None = None, **more: Any) -> Document:
    end = len(document.text) if end is None else end
    about: dict[str, Any] = {"source": document.source, "title": document.title, "kind": document.kind}
    about["document_id"] = document.id
    if document.pages:
        about["pages"] = len(document.pages)
    if document.notes:
        about["notes"] = list(document.notes)
    return Document(page_content=document.text[start:end], metadata={**about, "start": start, "end": end, **more})

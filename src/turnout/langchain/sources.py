"""Which documents are asked: those that are given, or a collection of the library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from turnout.client import Turnout
from turnout.documents import Document, DocumentInfo, Text
from turnout.inputs import Bytes, Input, LangChainDocument, nothing_in, several
from turnout.langchain.errors import RequestError

Inputs = Input | Iterable[Input]


def listed(documents: Any) -> list[Input] | None:
    """Documents as a list, so that a generator is read once; None for none.

    Raises:
        RequestError: what is given is no document, nor several.
    """
    if documents is None:
        return None
    one = (os.PathLike, Text, Bytes, Document, DocumentInfo, LangChainDocument)
    if isinstance(documents, (*one, Iterable)):
        return several(documents)
    raise RequestError(
        f"{documents!r:.60} is no document",
        hint="give a path, turnout.Text, bytes, a document of LangChain or of the library, or a list of them",
    )


def chosen(documents: Any, collection: str | None) -> tuple[list[Input] | None, str | None]:
    """What one place says to ask: documents, a collection, or neither.

    Raises:
        RequestError: it says both.
    """
    if documents is not None and collection is not None:
        raise RequestError("documents and a collection are given, of which one would be ignored", hint="give one")
    return listed(documents), collection


def resolve(turnout: Turnout, documents: list[Input] | None, collection: str | None) -> list[Input]:
    """What to ask over.

    Raises:
        RequestError: neither documents nor a collection is given.
        NoDocumentsError: the collection holds nothing.
    """
    if documents is not None:
        return documents
    if collection is None:
        raise no_documents()
    held: list[Input] = list(turnout.documents(collection))
    if not held:
        raise nothing_in(collection)
    return held


def no_documents() -> RequestError:
    """What is raised where nothing is given to answer from."""
    return RequestError(
        "there are no documents to answer from",
        hint="bind_documents([path, ...]), documents=[...] in the call, or collection='library'",
    )


def names(documents: Iterable[Input]) -> list[str]:
    """What traces call the documents."""
    return [_name(document) for document in documents]


def identity(turnout: Turnout, documents: Iterable[Input]) -> str:
    """Tells documents apart in LangChain's cache of answers, as they are now."""
    digest = hashlib.sha256()
    for document in documents:
        held = turnout.held(document) if isinstance(document, str) else None
        for part in _parts(held or document):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _name(document: Any) -> str:
    match document:
        case Document() | DocumentInfo() | Text():
            return document.title
        case Bytes():
            return document.name
        case bytes():
            return f"{len(document)} bytes"
        case str() | os.PathLike():
            return os.fspath(document)[:200]
        case LangChainDocument():
            return str(document.metadata.get("title") or document.metadata.get("source") or "document")
    return repr(document)[:80]


def _parts(document: Any) -> Iterator[bytes]:
    match document:
        case Document() | DocumentInfo():
            yield document.id.encode()
        case Text():
            yield document.text.encode("utf-8", "replace")
        case Bytes():
            yield document.data
        case bytes():
            yield document
        case str() | os.PathLike():
            yield os.fspath(document).encode("utf-8", "replace")
            for file in _files(Path(document)):
                with suppress(OSError):  # a link to nothing, or gone meanwhile
                    known = file.stat()
                    yield f"{file} {known.st_mtime_ns} {known.st_size}".encode("utf-8", "replace")
        case LangChainDocument():
            yield document.page_content.encode("utf-8", "replace")
        case _:
            yield repr(document).encode("utf-8", "replace")


def _files(path: Path) -> list[Path]:
    """What a path, a folder or a pattern names."""
    try:
        path = path.expanduser()
        if path.is_dir():
            return sorted(path.rglob("*"))
        if path.exists():
            return [path]
        return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (OSError, ValueError, RuntimeError):  # the last where there is no such user's folder
        return []

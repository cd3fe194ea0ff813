"""Which documents are asked: those that are given, or a collection of the library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from turnout.client import Turnout
from turnout.errors import NoDocumentsError
from turnout.inputs import Bytes, Input, LangChainDocument, several
from turnout.langchain.errors import RequestError
from turnout.types import Document, DocumentInfo, Text

Inputs = Input | Iterable[Input]


def listed(documents: Any) -> list[Input] | None:
    """Documents as a list, so that a generator is read once; None for none."""
    return None if documents is None else several(documents)


def resolve(turnout: Turnout, documents: list[Input] | None, collection: str | None) -> list[Input]:
    """What to ask over.

    Raises:
        RequestError: neither documents nor a collection is given.
        NoDocumentsError: the collection holds nothing.
    """
    if documents is not None:
        return documents
    if collection is None:
        raise RequestError(
            "there are no documents to answer from",
            hint="bind_documents([path, ...]), documents=[...] in the call, or collection='library'",
        )
    held: list[Input] = list(turnout.documents(collection))
    if not held:
        raise NoDocumentsError(f"collection {collection!r}", "holds nothing", hint="`add` documents to it first")
    return held


def names(documents: Iterable[Input]) -> list[str]:
    """What traces call the documents."""
    return [_name(document) for document in documents]


def identity(documents: Iterable[Input]) -> str:
    """Tells documents apart in LangChain's cache of answers, as they are now."""
    digest = hashlib.sha256()
    for document in documents:
        for part in _parts(document):
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
            return str(document.metadata.get("source") or "document")
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
            for file in _files(Path(document).expanduser()):
                known = file.stat()
                yield f"{file} {known.st_mtime_ns} {known.st_size}".encode("utf-8", "replace")
        case LangChainDocument():
            yield document.page_content.encode("utf-8", "replace")
        case _:
            yield repr(document).encode("utf-8", "replace")


def _files(path: Path) -> list[Path]:
    """What a path, a folder or a pattern names; nothing where it is the name of a document in the library."""
    try:
        if path.is_dir():
            return sorted(path.rglob("*"))
        if path.exists():
            return [path]
        return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (OSError, ValueError):
        return []

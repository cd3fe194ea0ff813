"""From what a caller gives (paths, text, bytes, LangChain documents, library documents) to documents in the library."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from turnout.checks import metadata_json
from turnout.config import Settings
from turnout.documents import Document, DocumentInfo, Text, title_of
from turnout.errors import ConfigurationError, DocumentError, NoDocumentsError, UnknownNameError
from turnout.progress import Progress
from turnout.retrieval import convert, walk
from turnout.retrieval.pending import Pending

if TYPE_CHECKING:
    from turnout.retrieval.library import Library

LONGEST_PATH = 4096


@runtime_checkable
class LangChainDocument(Protocol):
    """The part of langchain_core.documents.Document that is read; the library itself need not be imported."""

    page_content: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A document given as the bytes of a file; its kind is told from `name` and the content. A later one of the same
    `source` takes its place; without, each content has a source of its own."""

    data: bytes
    name: str
    source: str = ""


Input = str | os.PathLike[str] | Text | bytes | Bytes | Document | DocumentInfo | LangChainDocument


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that could not be read."""

    path: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did. `status` says by document id: "added", "updated" or "unchanged"; `skipped` counts by reason."""

    documents: tuple[DocumentInfo, ...]
    failed: tuple[Failure, ...]
    status: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


class Reader:
    """Reads inputs through the library, so that an unchanged file is never converted twice.

    Args:
        collection: what is read belongs there, and no document of others is found; None for all that there is.
    """

    def __init__(self, library: Library, settings: Settings, progress: Progress, collection: str | None = None) -> None:
        self._library = library
        self._collection = collection
        self._max_bytes = int(settings.max_file_mb * 2**20)
        self._progress = progress

    def add(self, inputs: Sequence[Input]) -> Added:
        """Reads and indexes into the collection; one bad document never stops the others."""
        failed: list[Failure] = []
        skipped: dict[str, int] = {}
        results = self._library.add_many(
            self._pending(inputs, failed, skipped),
            collection=self._collection,
            progress=lambda done, total: self._progress("embedding", done, total),
        )
        documents = {result.document.id: result.document.info() for result in results}
        status: dict[str, str] = {result.document.id: result.status for result in reversed(results)}
        return Added(tuple(documents.values()), tuple(failed), status, skipped)

    def read(self, inputs: Input | Iterable[Input]) -> list[Document]:
        """Reads documents to ask about; they are kept as a bounded cache, not as members of the library.

        Raises:
            DocumentError: one of them can't be read. An answer over half of what was asked would mislead.
            NoDocumentsError: there are none.
        """
        return self.given(inputs)[0]

    def given(self, inputs: Input | Iterable[Input]) -> tuple[list[Document], dict[str, str]]:
        """As `read`, with the JSON that was given with those documents, by id, that are not of the library."""
        failed: list[Failure] = []
        skipped: dict[str, int] = {}
        documents: dict[str, Document] = {}
        metadata: dict[str, str] = {}

        def noted(pending: Iterable[Pending]) -> Iterator[Pending]:
            for one in pending:
                metadata[one.document.id] = one.metadata
                yield one

        for item in several(inputs):
            held = self.held(item)
            if held is not None:
                documents[held.id] = held
                metadata.pop(held.id, None)
                continue
            pending = noted(self._pending([item], failed, skipped))
            for added in self._library.add_many(pending, collection=None, asked_in=self._collection):
                documents[added.document.id] = added.document
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise DocumentError(failed[0].path, failed[0].reason + more, hint=failed[0].hint + self._nearest(failed[0]))
        if not documents:
            counted = "".join(f"; {count} skipped: {reason}" for reason, count in skipped.items())
            raise NoDocumentsError(
                "no documents",
                f"nothing to ask about{counted}",
                hint="give a file, a folder or text, or `add` some first",
            )
        return list(documents.values()), metadata

    def each(self, inputs: Sequence[Input]) -> Iterator[Document]:
        """Reads documents one at a time and keeps none of them.

        Raises:
            DocumentError: the next one can't be read.
        """
        for item in inputs:
            held = self.held(item)
            if held is not None:
                yield held
                continue
            failed: list[Failure] = []
            for pending in self._pending([item], failed, {}):
                yield pending.document
            if failed:
                raise DocumentError(failed[0].path, failed[0].reason, hint=failed[0].hint)

    def held(self, item: Input) -> Document | None:
        """A document that the library holds already: given by its info, or named by id or title and not a path."""
        if isinstance(item, DocumentInfo):
            found = self._library.get(item.id, collection=self._collection)
            return replace(found, title=item.title, source=item.source)
        if isinstance(item, str) and not set(item) & set("*?[/~") and not _exists(item):
            try:
                return self._library.get(item, cached=False, collection=self._collection)
            except UnknownNameError:
                return None
        return None

    def _nearest(self, failure: Failure) -> str:
        """What to add to the hint where a name might have meant a document of the library."""
        if _exists(failure.path) or "/" in failure.path:
            return ""
        try:
            self._library.get(failure.path, cached=False, collection=self._collection)
        except UnknownNameError as error:
            return f"; nor has the library a document of that id or title: {error.hint}"
        return ""

    def _pending(self, inputs: Iterable[Input], failed: list[Failure], skipped: dict[str, int]) -> Iterator[Pending]:
        """Converted documents one at a time, so that a large folder is never held in memory whole."""
        for item in inputs:
            if not isinstance(item, str | os.PathLike):
                try:
                    yield _given(item, self._max_bytes)
                except DocumentError as error:
                    failed.append(_failure(error))
                continue
            if not os.fspath(item).strip():  # as a path, it would be the folder that the process runs in
                failed.append(Failure(repr(item), "names no document", "give a path, or turnout.Text(text, title)"))
                continue
            if "\n" in os.fspath(item) or len(os.fspath(item)) > LONGEST_PATH:
                shown = f"{os.fspath(item)[:40]!r}..."
                failed.append(Failure(shown, "is a text, not a path", "give it as turnout.Text(text, title)"))
                continue
            found = walk.find([os.fspath(item)])
            failed.extend(_failure(error) for error in found.failed)
            for reason, count in found.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
            for number, path in enumerate(found.files, start=1):
                try:
                    yield self._file(path)
                except DocumentError as error:
                    failed.append(_failure(error))
                self._progress("reading", number, len(found.files))

    def _file(self, path: Path) -> Pending:
        """A file as it was converted before, or converted now."""
        converter = convert.converter_for(path.name)
        file_hash = _hash(path, self._max_bytes)
        source = convert.storable(convert.absolute(path))
        document = self._library.known(file_hash, converter, source, self._collection) if file_hash else None
        return Pending(document or convert.convert_file(path, max_bytes=self._max_bytes), file_hash, converter)


def _hash(path: Path, max_bytes: int) -> str:
    """SHA-256 of a file; empty where conversion will refuse it anyway, with a reason."""
    try:
        if path.stat().st_size > max_bytes:
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def nothing_in(collection: str) -> NoDocumentsError:
    """What is raised where a collection that shall be asked holds nothing."""
    return NoDocumentsError(f"collection {collection!r}", "holds nothing", hint="`add` documents to it first")


def several(inputs: Input | Iterable[Input]) -> list[Input]:
    """One input, or several, as a list."""
    if isinstance(inputs, str | bytes | os.PathLike | Text | Bytes | Document | DocumentInfo | LangChainDocument):
        return [inputs]
    return list(inputs)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # too long for a file name
        return False


def with_stdin(paths: Sequence[str]) -> list[Input]:
    """Paths as inputs, with "-" as the document on standard input."""
    return [Bytes(sys.stdin.buffer.read(), "stdin") if path == "-" else path for path in paths]


def _given(item: Input, max_bytes: int) -> Pending:
    """A document that is not a file: text, bytes, or a LangChain document.

    Only a path, and what is given with a source, are replaced by a later version; the others have one of their own for
    each content, since many of them may share a name (the pages of one PDF, two pipes).
    """
    if isinstance(item, Document):
        return Pending(item)
    if isinstance(item, Text):
        return Pending(convert.convert_text(item), metadata=metadata_json(item.metadata, item.title))
    if isinstance(item, bytes):
        item = Bytes(item, f"bytes-{hashlib.sha256(item).hexdigest()[:8]}")
    if isinstance(item, Bytes):
        if len(item.data) > max_bytes:
            raise DocumentError(
                item.name,
                f"has {len(item.data) / 2**20:,.0f} MB, the limit is {max_bytes / 2**20:,.0f}",
                hint="--max-file-mb or TURNOUT_MAX_FILE_MB lifts it",
            )
        source = item.source or f"{item.name}#{hashlib.sha256(item.data).hexdigest()[:12]}"
        return Pending(convert.convert_bytes(item.data, name=item.name, source=source, max_bytes=max_bytes))
    if isinstance(item, LangChainDocument):
        origin = str(item.metadata.get("source", "")) or "document"
        title = str(item.metadata.get("title") or title_of(origin))
        digest = hashlib.sha256(item.page_content.encode("utf-8", "replace")).hexdigest()
        document = convert.convert_text(Text(item.page_content, title, f"{origin}#{digest[:12]}"))
        return Pending(document, metadata=_kept(item.metadata))
    raise ConfigurationError(
        f"a document can't be made of {type(item).__name__} {item!r:.60}",
        hint="give a path, turnout.Text, bytes, a LangChain document, or a document of the library",
    )


def _kept(metadata: Mapping[str, Any]) -> str:
    """As JSON what of a LangChain document's metadata is JSON, the rest as it is written; it must never cost the
    document."""
    return json.dumps(metadata, default=str, skipkeys=True, ensure_ascii=False) if metadata else ""


def _failure(error: DocumentError) -> Failure:
    return Failure(error.source, error.reason, error.hint)

"""Bytes or text to a Document: the content is checked against the name, converted, and given its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePath

from turnout.config import MAX_FILE_MB
from turnout.documents import Document, Text, title_of
from turnout.errors import DocumentError, TurnoutError
from turnout.retrieval.convert.content import BINARY, DAMAGED_ARCHIVE, HTML, LOCKED, Content, has_pdf_header, identify
from turnout.retrieval.convert.converted import Converted
from turnout.retrieval.convert.formats import FORMATS, READABLE, kind_of


def convert_bytes(data: bytes, *, name: str, source: str, max_bytes: int | None = None) -> Document:
    """Converts the content of a file.

    Args:
        name: its file name; the suffix decides the kind, and the content decides where the suffix is not known.
        source: where it came from, as errors and citations name it.
        max_bytes: bounds what the data may unpack to; the default is that of the settings.

    Raises:
        DocumentError: there is no text in it, or it is not what its name says.
        MissingExtraError: the library for this format is not installed.
    """
    if not data:
        raise DocumentError(source, "is empty (0 bytes)", hint="there is nothing to read in it: leave it out")
    kind = _kind(name, data, source)
    try:
        converted = FORMATS[kind].convert(data, source=source, max_bytes=max_bytes or int(MAX_FILE_MB * 1e6))
    except TurnoutError:
        raise
    except Exception as error:  # a converter may raise anything on a damaged file; the batch goes on
        raise DocumentError(
            source,
            f"can't be converted: {type(error).__name__}: {error}",
            hint="it may be damaged: open it in its own program and save it again",
        ) from error
    return _document(kind, converted, title=title_of(name), source=source)


def convert_text(text: Text) -> Document:
    """Makes a document of a given text; its source is named after its content where none is given.

    Raises:
        DocumentError: the text is empty or only white space.
    """
    return _document("text", Converted(text.text), title=text.title, source=text.source)


def document_id(kind: str, text: str, pages: Sequence[int], salt: str = "") -> str:
    """SHA-256 over kind, page starts and text: equal content has one identity, wherever it came from, under one salt.

    Args:
        salt: of the collection, where that is kept apart.
    """
    header = f"{kind}\n{','.join(map(str, pages))}\n" + (f"{salt}\n" if salt else "")
    return hashlib.sha256(header.encode() + text.encode()).hexdigest()


def _document(kind: str, converted: Converted, *, title: str, source: str) -> Document:
    text, notes = converted.text, list(converted.notes)
    if not converted.pages:
        text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    clean = storable(text)
    if clean != text:
        notes.append("characters that are not text were replaced")
    text = clean
    if not text.strip():
        raise DocumentError(
            source or title,
            "holds only white space" if text else "holds no text",
            hint="there is nothing to read in it: leave it out",
        )
    identity = document_id(kind, text, converted.pages)
    source = storable(source) or f"text:{identity[:12]}"
    return Document(identity, storable(title), text, source, kind, converted.pages, tuple(notes))


def storable(text: str) -> str:
    """A text without what no database takes: NUL and lone surrogates become the replacement character."""
    # NUL and lone surrogates (as in file names that are not UTF-8) can't be stored as text everywhere.
    text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(name: str, data: bytes, source: str) -> str:
    claimed, content = kind_of(name), identify(data)
    if claimed is None and content.kind is not None:
        return "html" if content.label == HTML else content.kind
    if claimed == "pdf":
        fits = has_pdf_header(data)
    elif claimed == "docx":
        fits = content.kind == "docx" or content == DAMAGED_ARCHIVE
    else:
        fits = content.kind == "text"
    if claimed is not None and fits:
        return claimed
    raise _refused(PurePath(name), content, source, mislabelled=claimed is not None)


def _refused(name: PurePath, content: Content, source: str, *, mislabelled: bool) -> DocumentError:
    if content == LOCKED:
        return DocumentError(source, "needs a password to be opened", hint="save a copy of it without the password")
    ending = {"a PDF": ".pdf", "a Word document": ".docx", HTML: ".html", "plain text": ".txt"}.get(content.label)
    hint = f"rename it to end in {ending}" if ending else f"turnout reads {READABLE}; save it as one of these"
    if content.label == BINARY and name.suffix.lower() in (".pdf", ".docx", ".docm"):
        named = name.suffix.lower()
        return DocumentError(
            source, f"is named {named} but has no {named[1:].upper()} structure", hint="it may be damaged: get it again"
        )
    if mislabelled and content.label != BINARY:
        return DocumentError(source, f"is named {name.suffix or name.name} but holds {content.label}", hint=hint)
    return DocumentError(source, f"holds {content.label}, which is not read", hint=hint)

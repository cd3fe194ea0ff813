"""Routes of the library: documents of one collection, uploaded, listed, read and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from pydantic import Field

from turnout.documents import Text
from turnout.inputs import Added, Bytes, Input
from turnout.server import asked
from turnout.server.access import Reads, Writes
from turnout.server.asked import MOST_DOCUMENTS, Inline, Name, Strict, document, safe_name
from turnout.server.errors import Refused
from turnout.server.questions import Held
from turnout.server.service import Service

router = APIRouter(prefix="/v1")

MOST_CHARS = 100_000
"""Of a document's text in one reply."""

Collection = Annotated[Name | None, Query()]
DocumentId = Annotated[str, Path(min_length=1, max_length=64)]


class NewDocuments(Strict):
    """Documents to keep. One of a name that the collection has already takes its place."""

    documents: Annotated[list[Inline | asked.File], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    collection: Name | None = None


@router.get("/collections")
def collections(caller: Reads, held: Held) -> dict[str, Any]:
    """The collections that the key may see; those that hold nothing yet have no documents."""
    found = {each["name"]: each["documents"] for each in held.turnout.collections()}
    names = list(found) if caller.token is None else list(caller.token.collections)
    return {"data": [{"name": name, "documents": found.get(name, 0)} for name in names]}


@router.get("/documents")
def list_documents(caller: Reads, held: Held, collection: Collection = None) -> dict[str, Any]:
    """The documents of a collection, by title."""
    return {"data": [_shown(row) for row in held.turnout.listing(caller.collection(collection))]}


@router.post("/documents")
async def add(wanted: NewDocuments, caller: Writes, held: Held) -> dict[str, Any]:
    """Keeps documents that are given as JSON."""
    collection = caller.collection(wanted.collection)
    given = [_text(each) if isinstance(each, Inline) else _file(asked.file(each)) for each in wanted.documents]
    return await _added(held, given, collection)


@router.post("/documents/upload")
async def upload(
    caller: Writes,
    held: Held,
    files: Annotated[list[UploadFile], File(min_length=1, max_length=MOST_DOCUMENTS)],
    collection: Annotated[Name | None, Form()] = None,
) -> dict[str, Any]:
    """Keeps files."""
    into = caller.collection(collection)
    given = [_file(Bytes(await file.read(), safe_name(file.filename or ""))) for file in files]
    return await _added(held, given, into)


@router.get("/documents/{document_id}")
def show(document_id: DocumentId, caller: Reads, held: Held, collection: Collection = None) -> dict[str, Any]:
    """One document, without its text."""
    found = document(held, document_id, caller.collection(collection))
    return {"id": found.id, "title": found.title, "pages": found.pages, "notes": list(found.notes)}


@router.get("/documents/{document_id}/text")
def text(
    document_id: DocumentId,
    caller: Reads,
    held: Held,
    start: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    end: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    collection: Collection = None,
) -> dict[str, Any]:
    """Characters [start, end) of a document's text, where citations say that a quote stands; at most 100,000."""
    within = caller.collection(collection)
    found = document(held, document_id, within)
    return held.turnout.span(found, start, end, within, most=MOST_CHARS)


@router.delete("/documents/{document_id}")
def delete(document_id: DocumentId, caller: Writes, held: Held, collection: Collection = None) -> dict[str, Any]:
    """Removes a document and all that derives from it."""
    within = caller.collection(collection)
    found = document(held, document_id, within)
    held.turnout.remove(found, collection=within)
    return {"id": found.id, "deleted": True}


def _text(given: Inline) -> Text:
    # Texts without a title of their own are no versions of each other.
    title = safe_name(given.title)
    return Text(given.text, title, f"upload:{title}" if "title" in given.model_fields_set else "")


def _file(given: Bytes) -> Bytes:
    return Bytes(given.data, given.name, f"upload:{given.name}")


async def _added(held: Service, given: Sequence[Input], collection: str) -> dict[str, Any]:
    added: Added = await held.slowly(lambda: held.turnout.add(*given, collection=collection))
    if added.failed and not added.documents:
        first = added.failed[0]
        name = first.path.removeprefix("upload:")
        raise Refused(400, f"{name}: {first.reason}", "document_unreadable", param="documents", hint=first.hint)
    return {
        "data": [
            {"id": each.id, "title": each.title, "status": added.status[each.id], "notes": list(each.notes)}
            for each in added.documents
        ],
        "failed": [
            {"title": each.path.removeprefix("upload:"), "reason": each.reason, "hint": each.hint}
            for each in added.failed
        ],
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    names = ("title", "kind", "chars", "segments", "pages", "tokens_estimate", "created")
    return {"id": row["document_id"], **{name: row[name] for name in names}}

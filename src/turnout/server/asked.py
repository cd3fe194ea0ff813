"""What a question comes with: documents, budget, earlier turns; the same for our routes and for OpenAI's."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from turnout.asking import Decoding
from turnout.documents import DocumentInfo, Text
from turnout.errors import UnknownNameError
from turnout.inputs import Bytes, Input
from turnout.server.access import Caller
from turnout.server.errors import Refused
from turnout.server.service import Service
from turnout.types import Budget, Message

MOST_DOCUMENTS = 200
LONGEST_NAME = 255

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, lt=2**53)]


class Strict(BaseModel):
    """A shape whose fields are all known: a slip is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class ById(Strict):
    """A document of the collection."""

    id: Name


class Inline(Strict):
    """A text that is given with the question."""

    text: Annotated[str, Field(min_length=1)]
    title: Name = "text"


class File(Strict):
    """A file that is given with the question: `data` is base64, `name` tells its kind."""

    name: Name
    data: Annotated[str, Field(min_length=1)]


Given = ById | Inline | File


class BudgetIn(Strict):
    """Limits of an answer, as docs/decision.md describes them."""

    max_total_s: Limit | None = None
    max_ttft_s: Limit | None = None
    max_prompt_tokens: Count | None = None
    max_cost: Limit | None = None
    max_memory_bytes: Count | None = None
    optimize: Literal["quality", "balanced", "latency", "cost"] = "quality"


class Turn(Strict):
    """An earlier turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Over(Strict):
    """What a question is asked over, and how: the extra field `turnout` of OpenAI's requests.

    Without documents it is asked over the whole collection, which is the key's first one unless it is named.
    """

    documents: Annotated[list[Given], Field(min_length=1, max_length=MOST_DOCUMENTS)] | None = None
    collection: Name | None = None
    strategy: Annotated[str, Field(max_length=64)] | None = None
    budget: BudgetIn = Field(default_factory=BudgetIn)


class Question(Over):
    """A question of our own routes."""

    question: Annotated[str, Field(min_length=1)]
    history: list[Turn] = Field(default_factory=list)
    instructions: str = ""
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=16)
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    def asked(self, held: Service, caller: Caller) -> dict[str, Any]:
        """As `Turnout.stream` takes it beside the question; looks documents up, so not on the event loop."""
        return over(self, held, caller) | {
            "history": [Message(turn.role, turn.content) for turn in self.history],
            "instructions": self.instructions,
            "decoding": Decoding(self.max_tokens, self.temperature, tuple(self.stop), self.seed),
        }


class Asked(Question):
    """As above, answered at once or as events."""

    stream: bool = False


def over(wanted: Over, held: Service, caller: Caller) -> dict[str, Any]:
    """The documents and how to use them, as `Turnout.stream` takes them.

    Raises:
        Refused: the caller has no such collection or document, or a file is not base64.
    """
    collection = caller.collection(wanted.collection)
    return {
        "documents": None
        if wanted.documents is None
        else [_input(each, held, collection) for each in wanted.documents],
        "collection": collection,
        "strategy": wanted.strategy,
        "budget": Budget(**wanted.budget.model_dump()),
    }


def _input(given: Given, held: Service, collection: str) -> Input:
    if isinstance(given, ById):
        return document(held, given.id, collection)
    if isinstance(given, Inline):
        return Text(given.text, safe_name(given.title))
    return file(given)


def file(given: File) -> Bytes:
    """The bytes of a file.

    Raises:
        Refused: they are not base64.
    """
    try:
        return Bytes(base64.b64decode(given.data, validate=True), safe_name(given.name))
    except (binascii.Error, ValueError) as error:
        raise Refused(
            400, f"the data of {safe_name(given.name)!r} is no base64", "invalid_value", param="data"
        ) from error


def document(held: Service, id_: str, collection: str) -> DocumentInfo:
    """The document of a collection with exactly this id.

    Raises:
        Refused: there is none; titles and beginnings of ids don't count, since what is written is meant.
    """
    try:
        found = held.turnout.named(id_, collection)
    except UnknownNameError:
        found = None
    if found is None or found.id != id_:
        raise Refused(404, f"there is no document {id_[:80]!r} here", "unknown_name", param="id")
    return found


def safe_name(name: str) -> str:
    """A name without any path, and without what could break a line or a terminal."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    clean = "".join(each if each.isprintable() else "_" for each in last).strip()
    return clean[:LONGEST_NAME] if clean.strip(".") else "document"

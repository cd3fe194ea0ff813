"""OpenAI's models and embeddings: what answers here, and the vectors of texts."""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from turnout.server.access import Reads
from turnout.server.asked import Count, Strict
from turnout.server.errors import Refused
from turnout.server.questions import Held
from turnout.server.service import Service

router = APIRouter(prefix="/v1")

ROUTER = "turnout"
"""A name that the model has everywhere, whatever it is."""

MOST_TEXTS = 2048


@router.get("/models")
def list_models(caller: Reads, held: Held) -> dict[str, Any]:
    """The model that answers, and the embedder where there is one."""
    return {"object": "list", "data": [_model(name, held) for name in _names(held)]}


@router.get("/models/{name:path}")
def show_model(name: str, caller: Reads, held: Held) -> dict[str, Any]:
    """One of them."""
    if name not in _names(held):
        raise _unknown(name, held)
    return _model(name, held)


class EmbeddingRequest(Strict):
    """OpenAI's request. `turnout_questions` says that the texts are what is searched for."""

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MOST_TEXTS)]
    )
    model: Annotated[str, Field(min_length=1, max_length=200)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    user: str | None = None
    turnout_questions: bool = False


@router.post("/embeddings")
async def embed(wanted: EmbeddingRequest, caller: Reads, held: Held) -> dict[str, Any]:
    """The vectors of texts, each of length 1. Tokens are counted as the answering model would."""
    texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    return await held.slowly(lambda: _embedded(held, wanted, texts))


def check_chat(held: Service, name: str) -> None:
    """Raises Refused: no such model answers here."""
    model = held.turnout.model
    if name not in (ROUTER, model.name, model.full_name):
        raise _unknown(name, held)


def _embedded(held: Service, wanted: EmbeddingRequest, texts: list[str]) -> dict[str, Any]:
    name = held.turnout.embedder_name
    if name is not None and wanted.model not in (name, ROUTER):
        raise _unknown(wanted.model, held)
    vectors = held.turnout.embed(texts, questions=wanted.turnout_questions)
    if wanted.dimensions not in (None, len(vectors[0])):
        raise Refused(400, f"vectors have {len(vectors[0])} dimensions", "invalid_value", param="dimensions")
    encoded = [_base64(vector) if wanted.encoding_format == "base64" else vector for vector in vectors]
    read = sum(held.turnout.count_tokens(text) for text in texts)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(encoded)],
        "model": wanted.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _names(held: Service) -> list[str]:
    embedder = held.turnout.embedder_name
    return [held.turnout.model.full_name, ROUTER, *([embedder] if embedder else [])]


def _model(name: str, held: Service) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(held.started), "owned_by": "turnout"}


def _unknown(name: str, held: Service) -> Refused:
    known = ", ".join(_names(held))
    return Refused(
        404, f"there is no model {name[:80]!r} here", "model_not_found", param="model", hint=f"known: {known}"
    )

"""Our own routes for questions: ask, plan, and what the ledger knows of answers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from turnout.errors import TurnoutError, UnknownNameError
from turnout.record import answer_json, decision_json
from turnout.server import errors
from turnout.server.access import Reads, Writes
from turnout.server.asked import Asked, Name, Question, Strict
from turnout.server.errors import Refused
from turnout.server.plain import plain
from turnout.server.service import Service, paused, service, while_there
from turnout.server.sse import MEDIA_TYPE, PAUSE_S, begun, pause, sent
from turnout.types import Decided, Done, Reading, StreamEvent, TextDelta

router = APIRouter(prefix="/v1")

Held = Annotated[Service, Depends(service)]
AnswerId = Annotated[str, Path(min_length=1, max_length=64)]


class Verdict(Strict):
    """Whether an answer was good."""

    good: bool


@router.post("/ask", response_model=None)
async def ask(asked: Asked, request: Request, caller: Reads, held: Held) -> Response:
    """Answers a question. With `stream`, as events: decided, reading, text, done; text is never taken back."""
    options = await held.looked_up(asked, lambda: asked.asked(held, caller))
    if not asked.stream:
        answer = await held.answer(request, caller.token, asked.question, steady=True, **options)
        return JSONResponse(plain(answer_json(answer)))
    events = held.events(request, caller.token, asked.question, steady=True, **options)
    first, rest = await while_there(request, begun(paused(events, PAUSE_S), _shows))
    return StreamingResponse(_events(first, rest), media_type=MEDIA_TYPE)


def _shows(event: StreamEvent | None) -> bool:
    return not isinstance(event, Decided)


async def _events(first: list[StreamEvent | None], rest: AsyncIterator[StreamEvent | None]) -> AsyncIterator[str]:
    shown = ""
    try:
        for event in first:
            shown, line = _line(event, shown)
            yield line
        async for event in rest:
            shown, line = _line(event, shown)
            yield line
    except (TurnoutError, Refused) as error:
        yield sent((errors.of(error) if isinstance(error, TurnoutError) else error).body())


def _line(event: StreamEvent | None, shown: str) -> tuple[str, str]:
    match event:
        case Decided(decision, documents, read_s):
            titles = [{"id": each.id, "title": each.title} for each in documents]
            record = {"type": "decided", "decision": decision_json(decision), "documents": titles, "read_s": read_s}
            return shown, sent(record)
        case Reading(done, total):
            return shown, sent({"type": "reading", "done": done, "total": total})
        case TextDelta(text):
            return shown + text, sent({"type": "text", "text": text})
        case Done(answer):
            rest = answer.text.removeprefix(shown)
            before = sent({"type": "text", "text": rest}) if rest else ""
            return answer.text, before + sent({"type": "done", "answer": answer_json(answer)})
    return shown, pause()


@router.post("/plan")
async def plan(asked: Question, caller: Reads, held: Held) -> dict[str, Any]:
    """The decision for a question and its estimates; nothing is generated."""
    options = await held.looked_up(asked, lambda: asked.asked(held, caller))
    with held.gate.question(caller.token):
        decided = await held.slowly(lambda: held.turnout.plan(asked.question, **options))
    decision: dict[str, Any] = plain(decision_json(decided))
    return decision


@router.get("/answers")
def answers(
    caller: Reads,
    held: Held,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    collection: Annotated[Name | None, Query()] = None,
) -> dict[str, Any]:
    """The newest answers of a collection, predicted beside measured."""
    found = held.turnout.log(limit, caller.collection(collection))
    return {"data": [_entry(each) for each in found]}


@router.get("/answers/{answer_id}")
def explain(
    answer_id: AnswerId, caller: Reads, held: Held, collection: Annotated[Name | None, Query()] = None
) -> dict[str, Any]:
    """What was decided for an answer and why; text only where the ledger keeps it."""
    within = caller.collection(collection)
    with _there():
        return _entry(held.turnout.explain(answer_id, within))


@router.post("/answers/{answer_id}/feedback")
def feedback(
    answer_id: AnswerId,
    verdict: Verdict,
    caller: Writes,
    held: Held,
    collection: Annotated[Name | None, Query()] = None,
) -> dict[str, Any]:
    """Says whether an answer was good; decisions on questions like it learn from that."""
    within = caller.collection(collection)
    with _there():
        entry = held.turnout.feedback(answer_id, good=verdict.good, collection=within)
    return {"id": entry.id, "good": verdict.good}


@contextlib.contextmanager
def _there() -> Iterator[None]:
    """Raises Refused: the answer is not there, or of another collection."""
    try:
        yield
    except UnknownNameError as error:
        raise Refused(404, error.message, "unknown_name", param="answer_id", hint=error.hint) from error


def _entry(entry: Any) -> dict[str, Any]:
    record = {"id": entry.id, "created": entry.created, "question": entry.question, **entry.record}
    whole: dict[str, Any] = plain(record | {"content": entry.content})
    return whole

"""OpenAI's chat completions: the last message is the question, the answer comes from documents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from turnout.errors import TurnoutError
from turnout.record import answer_json, finish_reason
from turnout.server import errors, models
from turnout.server.access import Reads
from turnout.server.chat_request import ChatRequest
from turnout.server.errors import Refused
from turnout.server.plain import plain
from turnout.server.questions import Held
from turnout.server.service import paused, while_there
from turnout.server.sse import END, MEDIA_TYPE, PAUSE_S, begun, pause, sent
from turnout.types import Answer, Decided, Done, StreamEvent, TextDelta

router = APIRouter(prefix="/v1")


@router.post("/chat/completions", response_model=None)
async def complete(wanted: ChatRequest, request: Request, caller: Reads, held: Held) -> Response:
    """Answers the last message; `turnout` in the request says from what, and in the reply how, why and where it stands.

    A stream has the same text, usage and citations; nothing in it is ever taken back.
    """
    wanted.check()
    if wanted.model != models.ROUTER:
        await asyncio.to_thread(models.check_chat, held, wanted.model)
    question, asked = await held.looked_up(wanted.turnout, lambda: wanted.asked(held, caller))
    if not wanted.stream:
        answer = await held.answer(request, caller.token, question, steady=True, **asked)
        return JSONResponse(plain(_whole(answer, wanted.model)))
    events = held.events(request, caller.token, question, steady=True, **asked)
    first, rest = await while_there(
        request, begun(paused(events, PAUSE_S), lambda event: not isinstance(event, Decided))
    )
    with_usage = bool(wanted.stream_options and wanted.stream_options.include_usage)
    return StreamingResponse(_chunks(first, rest, wanted.model, with_usage), media_type=MEDIA_TYPE)


def _whole(answer: Answer, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(answer), "logprobs": None}
    head = _head(answer.id, "chat.completion", model, int(time.time()))
    return head | {"choices": [choice], "usage": usage(answer), "turnout": answer_json(answer)}


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens, as OpenAI counts them."""
    read, written = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": answer.usage.cached_tokens},
    }


async def _chunks(
    first: list[StreamEvent | None], rest: AsyncIterator[StreamEvent | None], model: str, with_usage: bool
) -> AsyncIterator[str]:
    writing = _Chunks(model, with_usage)
    try:
        for event in first:
            yield writing.of(event)
        async for event in rest:
            yield writing.of(event)
    except (TurnoutError, Refused) as error:
        yield sent((errors.of(error) if isinstance(error, TurnoutError) else error).body())


class _Chunks:
    """A stream's events as chunks; the last has the reason for the end, and what is ours."""

    def __init__(self, model: str, with_usage: bool) -> None:
        self._model, self._with_usage = model, with_usage
        self._created = int(time.time())
        self._id = ""
        self._shown = ""

    def of(self, event: StreamEvent | None) -> str:
        match event:
            case Decided(decision):
                if self._id:  # another strategy is asked after the first
                    return pause()
                self._id = decision.id
                return self._chunk({"role": "assistant", "content": ""})
            case TextDelta(text):
                self._shown += text
                return self._chunk({"content": text})
            case Done(answer):
                return self._last(answer)
        return pause()

    def _last(self, answer: Answer) -> str:
        rest = answer.text.removeprefix(self._shown)
        text = self._chunk({"content": rest}) if rest else ""
        end = self._chunk({}, finish_reason=finish_reason(answer), turnout=answer_json(answer))
        if not self._with_usage:
            return text + end + END
        return text + end + sent(self._head() | {"choices": [], "usage": usage(answer)}) + END

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None, **ours: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        usage = {"usage": None} if self._with_usage else {}
        return sent(self._head() | {"choices": [choice]} | usage | ours)

    def _head(self) -> dict[str, Any]:
        return _head(self._id, "chat.completion.chunk", self._model, self._created)


def _head(id_: str, kind: str, model: str, created: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{id_}", "object": kind, "created": created, "model": model}

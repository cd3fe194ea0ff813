"""One request for a chat completion, as a stream: how it is asked for, and when it is sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.engines.remote_errors import broke_off, cause
from turnout.engines.remote_usage import finish_of, has_output
from turnout.types import GenerationParams

CONNECT_TIMEOUT_S = 10.0
MAX_SERVER_STOPS = 4
"""OpenAI's API takes four stop strings; all of them are looked for here as well."""

AGAIN_AFTER_S = (0.1, 0.5)
"""Pause before a stream that broke off is asked for again, drawn anew each time: all its clients lose a server at once,
and should not come back to the next one at once."""


@dataclass(slots=True)
class Request:
    """What is sent, and what came of it.

    Attributes:
        url: of the API.
        extra: fields of the body that OpenAI's API does not have.
        retries: how often it is sent again where no word of the answer had come.
        connect_s: seconds in which the server has to take the connection.
        refused: HTTP statuses of the tries that were refused.
    """

    url: str
    key: str | None
    model: str
    messages: Sequence[Mapping[str, str]]
    params: GenerationParams
    extra: Mapping[str, Any]
    retries: int
    connect_s: float = CONNECT_TIMEOUT_S
    refused: list[int] = field(default_factory=list)

    async def stream(self) -> AsyncIterator[Any]:
        """The chunks of the answer.

        What is refused for now or does not get through is sent again by the client, and a stream that breaks off
        before its first word once more by itself. From the first word on nothing is: it would be paid for twice, and
        the two answers need not agree. Silence is no reason either: the server may be at work.
        """
        import openai

        # The reader knows how long silence may be, so no time is set for it here: the client would send it again.
        timeout = openai.Timeout(None, connect=self.connect_s)

        async def note(response: Any) -> None:
            if response.is_error:
                self.refused.append(response.status_code)

        async with openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self.key or "none",
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"response": [note]}),
        ) as client:
            for may_try_again in (self.retries > 0, False):
                begun = complete = False
                stream = await self._send(client)
                try:
                    async with stream:
                        async for chunk in stream:
                            begun, complete = begun or has_output(chunk), complete or bool(finish_of(chunk))
                            yield chunk
                except Exception as error:  # versions of the client name a broken connection differently
                    if isinstance(error, openai.APIError) and not isinstance(error, openai.APIConnectionError):
                        raise  # the server said why
                    if not complete and (begun or not may_try_again):
                        raise broke_off(self.url) from cause(error, self.key)
                if begun or complete or not may_try_again:
                    return
                await asyncio.sleep(random.uniform(*AGAIN_AFTER_S))  # noqa: S311

    async def _send(self, client: Any) -> Any:
        import openai

        params = self.params
        options: dict[str, Any] = {
            "model": self.model,
            "messages": list(self.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if params.seed is not None:
            options["seed"] = params.seed
        if self.extra:
            options["extra_body"] = dict(self.extra)
        if params.stop:
            options["stop"] = list(params.stop[:MAX_SERVER_STOPS])
        create = client.chat.completions.create
        try:
            return await create(**options, max_tokens=params.max_tokens, temperature=params.temperature)
        except openai.BadRequestError as error:
            # Reasoning models of the hosted API know the limit by another name and take no temperature.
            if "max_completion_tokens" not in str(error):
                raise
            return await create(**options, max_completion_tokens=params.max_tokens)

"""The remote engine: any server with OpenAI's chat completions (Ollama, vLLM, llama.cpp, a hosted API)."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any

from turnout.contracts import Stopper
from turnout.engines import prompt, remote_server
from turnout.engines.decode import StopFilter
from turnout.engines.in_flight import InFlight, Load, shared
from turnout.engines.pump import Pump
from turnout.engines.remote_errors import broke_off, cause, normalise, shown_url
from turnout.errors import EngineError, EngineTimeoutError
from turnout.types import Context, EngineEvent, Finished, FinishReason, GenerationParams, ModelInfo, Prefilled, Token

CONNECT_TIMEOUT_S = 10.0
MAX_SILENCE_S = 600.0
MAX_SERVER_STOPS = 4
"""OpenAI's API takes four stop strings; all of them are looked for here as well."""

# A server builds its own chat template from text, so control tokens can only be made harmless in the text itself.
_CONTROL = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|\[/?[A-Z_]*(?:INST|TOOL|PROMPT)[A-Z_]*\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>"
)


class RemoteEngine:
    """Asks a server for chat completions.

    Args:
        url: base URL of the API, such as http://localhost:8000/v1.
        model_name: the server's name for the model; may be left out where the server has one alone.
        api_key: sent as bearer token, never shown.
        window: tokens of prompt and answer; the server's own figure by default.
    """

    capabilities: frozenset[str] = frozenset({"concurrent"})

    def __init__(
        self, url: str, model_name: str | None = None, api_key: str | None = None, window: int | None = None
    ) -> None:
        self._given_url = url
        self._model_name = model_name
        self._key = api_key
        self._given_window = window
        self.prompt_format = prompt.QUOTING

    @cached_property
    def model(self) -> ModelInfo:
        """Asks the server at first use, then remembers."""
        window = self._given_window or self._found.window
        identity = hashlib.sha256(f"{shown_url(self._url)}\0{self._found.name}\0{window}".encode()).hexdigest()
        return ModelInfo(name=self._found.name, window=window, fingerprint=f"remote-{identity[:32]}")

    def open(self) -> None:
        """Finds the server and the model.

        Raises:
            EngineError: the server can't be reached or refuses.
            ConfigurationError: it has no such model.
        """
        _ = self.model

    def close(self) -> None:
        """Nothing is kept between requests."""

    @property
    def count_is_exact(self) -> bool:
        return self._counter.kind == "vllm"

    def count(self, context: Context) -> int:
        return self._counter.chat(self._messages(context))

    def count_text(self, text: str) -> int:
        return self._counter.text(defuse(text))

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> None:
        return None

    def free_memory_bytes(self) -> None:
        return None

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events.

        Raises:
            EngineError: over the window, unreachable, refused, or the stream broke off (see `retryable`).
            EngineTimeoutError: `timeout_s` is over before the first token; later it ends the answer.
        """
        messages = self._messages(context)
        expected = self._counter.chat(messages)
        if expected + params.max_tokens > self.model.window:
            raise EngineError(
                f"{'' if self.count_is_exact else 'about '}{expected:,} prompt tokens and {params.max_tokens:,} new "
                f"ones are over the window of {self.model.window:,}",
                hint="give fewer documents, use another strategy, or a model with a larger window",
            )
        pump = Pump(lambda: self._stream(messages, params))
        events = self._read(pump, params, stopped or (lambda: False), expected)
        try:
            yield from self._requests.follow(events, expected, params.max_tokens)
        except Exception as error:
            ours = normalise(error, self._url, self._found.name, self._key, self._found.known)
            raise ours from cause(error, self._key)
        finally:
            pump.close()

    def in_flight(self) -> Load:
        """What this process has the server do, whichever engine and model it was asked by."""
        return self._requests.load()

    def _read(
        self, pump: Pump[Any], params: GenerationParams, stopped: Stopper, expected: int
    ) -> Iterator[EngineEvent]:
        begin = time.perf_counter()
        stops = StopFilter(params.stop)
        first_token_s: float | None = None
        reason: FinishReason | None = None
        usage, made = None, 0
        for chunk in pump.poll():
            elapsed = time.perf_counter() - begin
            if params.timeout_s is not None and elapsed > params.timeout_s:
                if first_token_s is not None:
                    reason = "timeout"
                    break
                raise EngineTimeoutError(
                    f"{shown_url(self._url)} was stopped after {elapsed:.1f} s, the limit is {params.timeout_s:g} s",
                    hint="allow more time, or give fewer documents",
                )
            if stopped():
                reason = "cancelled"
                break
            if chunk is None:
                continue
            usage = chunk.usage or usage
            choice = chunk.choices[0] if chunk.choices else None
            text = (choice.delta.content or "") if choice else ""
            if text:
                made += 1
                if first_token_s is None:
                    first_token_s = elapsed
                    yield Prefilled(expected, expected)
                if shown := stops.push(text):
                    yield Token(shown)
                if stops.stopped:
                    reason = "stop"
                    break
            if choice and choice.finish_reason:
                reason = "length" if choice.finish_reason == "length" else "stop"
        if reason is None:
            raise broke_off(self._url)
        if reason != "cancelled" and (rest := stops.finish()):
            yield Token(rest)
        details = getattr(usage, "prompt_tokens_details", None)
        yield Finished(
            reason=reason,
            prompt_tokens=usage.prompt_tokens if usage else expected,
            completion_tokens=usage.completion_tokens if usage else made,
            cached_tokens=(getattr(details, "cached_tokens", None) or 0),
            first_token_s=first_token_s,
        )

    async def _stream(self, messages: list[dict[str, str]], params: GenerationParams) -> AsyncIterator[Any]:
        import openai

        options: dict[str, Any] = {
            "model": self._found.name,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if params.seed is not None:
            options["seed"] = params.seed
        if params.cache_namespace is not None and self._counter.kind == "vllm":
            # Other servers know no such field, and some refuse what they don't know.
            options["extra_body"] = {"cache_salt": params.cache_namespace}
        if params.stop:
            options["stop"] = list(params.stop[:MAX_SERVER_STOPS])
        limits = {"max_tokens": params.max_tokens, "temperature": params.temperature}
        timeout = openai.Timeout(params.timeout_s or MAX_SILENCE_S, connect=CONNECT_TIMEOUT_S)
        async with openai.AsyncOpenAI(
            base_url=self._url, api_key=self._key or "none", timeout=timeout, max_retries=0
        ) as client:
            completions: Any = client.chat.completions
            try:
                stream = await completions.create(**options, **limits)
            except openai.BadRequestError as error:
                # Reasoning models of the hosted API know the limit by another name and take no temperature.
                if "max_completion_tokens" not in str(error):
                    raise
                stream = await completions.create(**options, max_completion_tokens=params.max_tokens)
            async with stream:
                async for chunk in stream:
                    yield chunk

    def _messages(self, context: Context) -> list[dict[str, str]]:
        return [
            {
                "role": message.role,
                "content": "".join(piece.text if piece.trusted else defuse(piece.text) for piece in message.pieces),
            }
            for message in prompt.pieces(context, self.prompt_format)
        ]

    @cached_property
    def _requests(self) -> InFlight:
        return shared(shown_url(self._url))

    @cached_property
    def _url(self) -> str:
        return remote_server.base_url(self._given_url)

    @cached_property
    def _found(self) -> remote_server.RemoteModel:
        return remote_server.find_model(self._url, self._model_name, self._key)

    @cached_property
    def _counter(self) -> remote_server.TokenCounter:
        return remote_server.TokenCounter(self._url, self._found.name, self._key)


def defuse(text: str) -> str:
    """Puts a space into what looks like a control token ("<|im_end|>" becomes "< |im_end|>").

    Only in what is sent: documents, hashes and citations keep the original.
    """
    return _CONTROL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

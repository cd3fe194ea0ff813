"""The engine over a chat model of LangChain: whatever answers there can answer here.

LangChain itself is not imported: a chat model is asked with plain (role, text) pairs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from turnout.config import model_name_of
from turnout.contracts import ChatModel, Stopper
from turnout.engines import prompt
from turnout.engines.decode import StopFilter
from turnout.engines.in_flight import InFlight, Load, shared
from turnout.engines.reader import ThreadReader
from turnout.engines.remote import defuse
from turnout.engines.remote_server import DEFAULT_WINDOW, MESSAGE_TOKENS, estimate
from turnout.errors import ConfigurationError, EngineError, EngineTimeoutError, TurnoutError
from turnout.types import Context, EngineEvent, Finished, FinishReason, GenerationParams, ModelInfo, Prefilled, Token

# Where chat models hold what our parameters mean. Set on a copy: each of them reads its fields at every call, while
# an option of the call that it does not know may be an error.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict"),
    "temperature": ("temperature",),
    "seed": ("seed",),
}


class ChatModelEngine:
    """Asks a chat model.

    A temperature of 0 leaves the model's own; token counts are estimates before an answer, and the model's own figures
    after it where it gives some.

    Args:
        model: any BaseChatModel of langchain_core.
        window: tokens of prompt and answer; the `max_input_tokens` of its profile by default, else DEFAULT_WINDOW.
    """

    capabilities: frozenset[str] = frozenset({"concurrent"})
    count_is_exact = False

    def __init__(self, model: ChatModel, window: int | None = None) -> None:
        if not callable(getattr(model, "stream", None)):
            raise ConfigurationError(
                f"{model!r:.80} of type {type(model).__name__} is no model",
                hint="give a name, a folder, a URL, or a chat model of LangChain",
            )
        self._model = model
        self._given_window = window
        self.prompt_format = prompt.QUOTING

    @cached_property
    def model(self) -> ModelInfo:
        """What the model says of itself."""
        kind = type(self._model).__name__
        name = model_name_of(self._model) or kind
        profile = getattr(self._model, "profile", None) or {}
        known = profile.get("max_input_tokens")
        window = self._given_window or (known if isinstance(known, int) and known > 0 else DEFAULT_WINDOW)
        identity = hashlib.sha256(f"{type(self._model).__module__}.{kind}\0{name}\0{window}".encode()).hexdigest()
        return ModelInfo(name=name, window=window, fingerprint=f"langchain-{identity[:32]}")

    def open(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """The model belongs to the caller."""

    def count(self, context: Context) -> int:
        messages = self._messages(context)
        return sum(estimate(text) + MESSAGE_TOKENS for _, text in messages) + MESSAGE_TOKENS

    def count_text(self, text: str) -> int:
        return estimate(defuse(text))

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> None:
        return None

    def free_memory_bytes(self) -> None:
        return None

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events.

        Raises:
            ConfigurationError: a seed or a temperature that the model has no field for.
            EngineError: over the window, or the model failed.
            EngineTimeoutError: `timeout_s` is over before the first token; later it ends the answer.
        """
        for name, value in (("seed", params.seed), ("temperature", params.temperature or None)):
            if value is not None and not self._limits(name):
                raise ConfigurationError(
                    f"{self.model.name} takes no {name}: {type(self._model).__name__} has no field for it",
                    hint=f"leave {name} out, or set it where the chat model is made",
                )
        expected = self.count(context)
        if expected + params.max_tokens > self.model.window:
            raise EngineError(
                f"about {expected:,} prompt tokens and {params.max_tokens:,} new ones are over the window of "
                f"{self.model.window:,}",
                hint="give fewer documents, use another strategy, or a model with a larger window",
            )
        pump = ThreadReader(lambda: self._stream(self._messages(context), params))
        events = self._read(pump, params, stopped or (lambda: False), expected)
        try:
            yield from self._requests.follow(events, expected, params.max_tokens)
        except TurnoutError:
            raise
        except Exception as error:  # the libraries behind chat models have no common one
            raise EngineError(
                f"{self.model.name} failed: {type(error).__name__}: {error}",
                hint="the model's own message says why",
                retryable=bool(getattr(error, "is_retryable", False)),
            ) from error
        finally:
            pump.close()

    def in_flight(self) -> Load:
        """What this process has models of this kind and name do."""
        return self._requests.load()

    @cached_property
    def _requests(self) -> InFlight:
        return shared(self.model.fingerprint)

    def _read(
        self, pump: ThreadReader[Any], params: GenerationParams, stopped: Stopper, expected: int
    ) -> Iterator[EngineEvent]:
        begin = time.perf_counter()
        stops, written = StopFilter(params.stop), ""
        first_token_s: float | None = None
        reason: FinishReason = "stop"
        usage: dict[str, int] = {}
        cached = 0
        for chunk in pump.poll():
            elapsed = time.perf_counter() - begin
            if params.timeout_s is not None and elapsed > params.timeout_s:
                if first_token_s is not None:
                    reason = "timeout"
                    break
                raise EngineTimeoutError(
                    f"{self.model.name} was stopped after {elapsed:.1f} s, the limit is {params.timeout_s:g} s",
                    hint="allow more time, or give fewer documents",
                )
            if stopped():
                reason = "cancelled"
                break
            if chunk is None:
                continue
            told = getattr(chunk, "usage_metadata", None) or {}
            for name in ("input_tokens", "output_tokens"):
                usage[name] = usage.get(name, 0) + (told.get(name) or 0)
            cached += (told.get("input_token_details") or {}).get("cache_read") or 0
            if _finish(chunk) in ("length", "max_tokens", "MAX_TOKENS"):
                reason = "length"
            if text := str(chunk.text):
                written += text
                if first_token_s is None:
                    first_token_s = elapsed
                    yield Prefilled(expected, expected)
                if shown := stops.push(text):
                    yield Token(shown)
                if stops.stopped:
                    reason = "stop"
                    break
                if not self._limits("max_tokens") and estimate(written) >= params.max_tokens:
                    reason = "length"
                    break
        if reason != "cancelled" and (rest := stops.finish()):
            yield Token(rest)
        yield Finished(
            reason=reason,
            prompt_tokens=usage.get("input_tokens") or expected,
            completion_tokens=usage.get("output_tokens") or estimate(written),
            cached_tokens=cached,
            first_token_s=first_token_s,
        )

    def _stream(self, messages: list[tuple[str, str]], params: GenerationParams) -> Iterator[Any]:
        values = {"max_tokens": params.max_tokens, "temperature": params.temperature or None, "seed": params.seed}
        wanted = {self._limits(name): value for name, value in values.items() if value is not None}
        update = {field: value for field, value in wanted.items() if field}
        copy = getattr(self._model, "model_copy", None)
        model = copy(update=update) if copy is not None and update else self._model
        options: dict[str, Any] = {"stop": list(params.stop)} if params.stop else {}
        found: Iterator[Any] = model.stream(messages, **options)
        return found

    def _limits(self, name: str) -> str:
        """The model's field for one of our parameters, "" where it has none."""
        fields = getattr(type(self._model), "model_fields", {})
        return next((field for field in _FIELDS[name] if field in fields), "")

    def _messages(self, context: Context) -> list[tuple[str, str]]:
        return [
            (message.role, "".join(piece.text if piece.trusted else defuse(piece.text) for piece in message.pieces))
            for message in prompt.pieces(context, self.prompt_format)
        ]


def _finish(chunk: Any) -> str:
    said = getattr(chunk, "response_metadata", None) or {}
    return str(said.get("finish_reason") or said.get("stop_reason") or said.get("done_reason") or "")

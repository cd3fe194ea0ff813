"""The remote engine: any server with OpenAI's chat completions (Ollama, vLLM, llama.cpp, a hosted API)."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

from turnout.config import SERVER_RETRIES, SERVER_TIMEOUT_S
from turnout.contracts import Stopper
from turnout.engines import prompt, remote_server
from turnout.engines.decode import StopFilter
from turnout.engines.in_flight import InFlight, Load, shared
from turnout.engines.pump import Pump
from turnout.engines.remote_cache import Beginnings, ServerCache, beginnings
from turnout.engines.remote_errors import broke_off, cause, normalise, out_of_time, shown_url, silent
from turnout.engines.remote_request import CONNECT_TIMEOUT_S, Request
from turnout.engines.remote_usage import Usage, finish_of, text_of
from turnout.errors import EngineError
from turnout.types import Context, EngineEvent, Finished, FinishReason, GenerationParams, ModelInfo, Prefilled, Token

SURE = 0.9
MOST_BYTES_A_TOKEN = 8
"""An answer of more chunks than it may have tokens, and of so many bytes for each of those, is over its limit: the
server does not keep it. Usual texts have 3 to 5 bytes a token; some servers send less than a token a chunk."""

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
        takes: what the server is known to take beside OpenAI's fields, of `turnout.config.SERVER_TAKES`: "cache_salt"
            keeps what one `cache_namespace` has had read from others, and is sent to servers that count tokens as vLLM
            does without being named; "choices" binds an answer to the options that the question lists, and leaves no
            room for a quote.
        retries: how often a request is sent again before the first word of its answer.
        timeout_s: seconds that the server may say nothing, and those in which it has to take a connection and to answer
            a question about itself, where these are less than usual.
    """

    def __init__(
        self,
        url: str,
        model_name: str | None = None,
        api_key: str | None = None,
        window: int | None = None,
        takes: Collection[str] = (),
        retries: int = SERVER_RETRIES,
        timeout_s: float = SERVER_TIMEOUT_S,
    ) -> None:
        self._given_url = url
        self._model_name = model_name
        self._key = api_key
        self._given_window = window
        self._takes = frozenset(takes)
        self._retries = retries
        self._timeout_s = timeout_s
        self._cache = ServerCache()
        self.prompt_format = prompt.QUOTING

    @property
    def capabilities(self) -> frozenset[str]:
        """What is known of the server: choices where that was said of it, a prefix cache once it has told of a hit."""
        told = {"prefix_cache"} if self._cache.keeps else set()
        return frozenset({"concurrent"} | (self._takes & {"choices"}) | told)

    @cached_property
    def model(self) -> ModelInfo:
        """Asks the server at first use, then remembers."""
        window = self._given_window or self.told_window or remote_server.DEFAULT_WINDOW
        identity = hashlib.sha256(f"{shown_url(self._url)}\0{self._found.name}\0{window}".encode()).hexdigest()
        return ModelInfo(name=self._found.name, window=window, fingerprint=f"remote-{identity[:32]}")

    @property
    def told_window(self) -> int | None:
        """What the server says of its window; None where it does not."""
        return self._found.window

    def open(self) -> None:
        """Finds the server and the model.

        Raises:
            EngineError: the server can't be reached or refuses.
            ConfigurationError: it has no such model.
        """
        _ = self.model

    def close(self) -> None:
        """Closes the connections that tokens are counted with."""
        if "_counter" in self.__dict__:
            self._counter.close()

    @property
    def count_is_exact(self) -> bool:
        return self._counter.kind == "vllm"

    @property
    def keeps_apart(self) -> bool:
        """Whether the server is sent a salt, so that no namespace finds what another has had read."""
        return "cache_salt" in self._takes or self._counter.kind == "vllm"

    def count(self, context: Context) -> int:
        return self._counter.chat(_joined(self._messages(context)))

    def count_text(self, text: str) -> int:
        return self._counter.text(defuse(text))

    def memory_bytes(self, prompt_tokens: int, new_tokens: int) -> None:
        return None

    def free_memory_bytes(self) -> None:
        return None

    def resident(self, context: Context, namespace: str | None = None) -> int:
        """Prompt tokens that the server probably still has of earlier requests of this engine; 0 where it never tells.

        Tokens are shared out over a prompt by its bytes.
        """
        return self._resident(context, namespace, 0.0)

    def surely_resident(self, context: Context, namespace: str | None = None) -> int:
        """As `resident`, of what the server had in nine of ten cases."""
        return self._resident(context, namespace, SURE)

    def forget(self) -> None:
        """Lets go of the hashes of what was sent; a server keeps what it keeps."""
        self._cache.forget()

    def generate(
        self, context: Context, params: GenerationParams, stopped: Stopper | None = None
    ) -> Iterator[EngineEvent]:
        """Streams events. What fails before the first word is tried again, see `Request.stream`.

        Raises:
            EngineError: over the window, unreachable, refused, or the stream broke off (see `retryable`).
            EngineTimeoutError: `timeout_s` is over before the first token; later it ends the answer.
        """
        messages = self._messages(context)
        expected = self._counter.chat(_joined(messages))
        if expected + params.max_tokens > self.model.window:
            raise EngineError(
                f"{'' if self.count_is_exact else 'about '}{expected:,} prompt tokens and {params.max_tokens:,} new "
                f"ones are over the window of {self.model.window:,}",
                hint="give fewer documents, use another strategy, or a model with a larger window",
            )
        extra, connect_s = self._extra(params), min(CONNECT_TIMEOUT_S, self._timeout_s)
        request = Request(
            self._url, self._key, self._found.name, _joined(messages), params, extra, self._retries, connect_s
        )
        pump = Pump(request.stream)
        begins = beginnings(messages, params.cache_namespace)
        events = self._read(pump, request, stopped or (lambda: False), expected, begins)
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
        self, pump: Pump[Any], request: Request, stopped: Stopper, expected: int, begins: Beginnings
    ) -> Iterator[EngineEvent]:
        begin = heard = time.perf_counter()
        params, before = request.params, self._cache.known(begins)
        stops = StopFilter(params.stop)
        first_token_s: float | None = None
        reason: FinishReason | None = None
        usage, made, written = Usage(), 0, 0
        for chunk in pump.poll():
            now = time.perf_counter()
            if params.timeout_s is not None and now - begin > params.timeout_s:
                if first_token_s is not None:
                    reason = "timeout"
                    break
                raise out_of_time(self._url, now - begin, params.timeout_s, request.refused)
            if stopped():
                reason = "cancelled"
                break
            if chunk is None:
                if now - heard > self._timeout_s:
                    raise silent(self._url, self._timeout_s, request.refused)
                continue
            heard = now
            usage = usage.updated(chunk)
            if text := text_of(chunk):
                made, written = made + 1, written + len(text.encode("utf-8", "surrogatepass"))
                if first_token_s is None:
                    first_token_s = now - begin
                    self._cache.read(begins)
                    yield Prefilled(expected, expected)
                if shown := stops.push(text):
                    yield Token(shown)
                if stops.stopped:
                    reason = "stop"
                    break
                if made > params.max_tokens and written > MOST_BYTES_A_TOKEN * params.max_tokens:
                    reason = "length"
                    break
            if finish := finish_of(chunk):
                reason = "length" if finish == "length" else "stop"
        if reason is None:
            raise broke_off(self._url)
        if reason != "cancelled" and (rest := stops.finish()):
            yield Token(rest)
        if usage.prompt_tokens and usage.cached_tokens is not None:
            self._cache.learn(before, usage.cached_tokens / usage.prompt_tokens)
        read, cached = usage.prompt_tokens or expected, usage.cached_tokens or 0
        yield Finished(
            reason=reason,
            prompt_tokens=read,
            completion_tokens=usage.completion_tokens or made,
            cached_tokens=cached if cached <= read else 0,
            first_token_s=first_token_s,
        )

    def _resident(self, context: Context, namespace: str | None, least: float) -> int:
        if not self._cache.keeps:
            return 0
        share = self._cache.expected(beginnings(self._messages(context), namespace), least)
        return int(share * self.count(context))

    def _extra(self, params: GenerationParams) -> dict[str, Any]:
        """Fields beside OpenAI's. Servers that don't know them may refuse them."""
        extra: dict[str, Any] = {}
        if params.cache_namespace and self.keeps_apart:
            extra["cache_salt"] = params.cache_namespace
        if params.choices and "choices" in self._takes:
            extra["structured_outputs"] = {"choice": list(params.choices)}
        return extra

    def _messages(self, context: Context) -> list[tuple[str, list[str]]]:
        """(role, pieces of text): the documents first and the question last, so that a server which has read the
        documents for another question finds them again."""
        return [
            (message.role, [piece.text if piece.trusted else defuse(piece.text) for piece in message.pieces])
            for message in prompt.pieces(context, self.prompt_format, documents_first=True)
        ]

    @cached_property
    def _requests(self) -> InFlight:
        return shared(shown_url(self._url))

    @cached_property
    def _url(self) -> str:
        return remote_server.base_url(self._given_url)

    @cached_property
    def _found(self) -> remote_server.RemoteModel:
        return remote_server.find_model(self._url, self._model_name, self._key, self._retries, self._query_s)

    @cached_property
    def _counter(self) -> remote_server.TokenCounter:
        return remote_server.TokenCounter(self._url, self._found.name, self._key, self._retries, self._query_s)

    @property
    def _query_s(self) -> float:
        return min(remote_server.QUERY_TIMEOUT_S, self._timeout_s)


def _joined(messages: list[tuple[str, list[str]]]) -> list[dict[str, str]]:
    return [{"role": role, "content": "".join(texts)} for role, texts in messages]


def defuse(text: str) -> str:
    """Puts a space into what looks like a control token ("<|im_end|>" becomes "< |im_end|>").

    Only in what is sent: documents, hashes and citations keep the original.
    """
    return _CONTROL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

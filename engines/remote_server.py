"""What a remote server says of itself: its models, their windows, and how it counts tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from turnout.engines.remote_errors import cause, normalise, shown_url
from turnout.errors import ConfigurationError, EngineError, UnknownNameError

DEFAULT_WINDOW = 8192
"""Assumed where a server does not say: the smallest that current servers use by default."""

QUERY_TIMEOUT_S = 10.0
CHARACTERS_PER_TOKEN = 4.2
MARGIN = 1.1
MESSAGE_TOKENS = 8

# Where servers put the window into an entry of /v1/models: vLLM, SGLang and others; llama.cpp keeps it under "meta".
_WINDOW_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")

Counter = Literal["vllm", "llama.cpp", "estimate"]


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """The model that was found, and the others that the server has."""

    name: str
    window: int
    known: tuple[str, ...]


def base_url(url: str) -> str:
    """The URL of the API: a URL without a path gets /v1.

    Raises:
        ConfigurationError: it names no host.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ConfigurationError(f"the model URL {url!r} names no host", hint="for example http://localhost:8000/v1")
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def find_model(url: str, name: str | None, key: str | None) -> RemoteModel:
    """Asks /v1/models for `name`, or for the only model where no name is given.

    Raises:
        UnknownNameError: the server has no such model.
        ConfigurationError: no name was given and the server has none or several.
        EngineError: the server can't be reached or refuses.
    """
    import openai

    try:
        with openai.OpenAI(base_url=url, api_key=key or "none", timeout=QUERY_TIMEOUT_S, max_retries=0) as client:
            entries = list(client.models.list())
    except openai.NotFoundError as error:
        if name is not None:  # some servers have no list of models
            return RemoteModel(name, DEFAULT_WINDOW, ())
        raise EngineError(
            f"{shown_url(url)} has no list of models", hint="name one with --model-name, and check the URL"
        ) from error
    except Exception as error:
        raise normalise(error, url, name, key, ()) from cause(error, key)
    known = tuple(entry.id for entry in entries)
    if name is None and len(known) != 1:
        raise ConfigurationError(
            f"{shown_url(url)} has {len(known)} models: {', '.join(known) or 'none'}",
            hint="name one with --model-name" if known else "load a model into the server",
        )
    chosen = name or known[0]
    # Ollama answers to "qwen3" with "qwen3:latest".
    entry = next((entry for entry in entries if entry.id in (chosen, f"{chosen}:latest")), None)
    if entry is None and known:
        raise UnknownNameError(f"model of {shown_url(url)}", chosen, known)
    return RemoteModel(chosen, _window(entry.model_extra or {}) if entry else DEFAULT_WINDOW, known)


def _window(extra: dict[str, Any]) -> int:
    meta = extra.get("meta")
    found = [extra.get(field) for field in _WINDOW_FIELDS]
    found.append(meta.get("n_ctx_train") if isinstance(meta, dict) else None)
    return next((value for value in found if isinstance(value, int) and value > 0), DEFAULT_WINDOW)


def estimate(text: str) -> int:
    """Tokens of a text where the server can't count: UTF-8 bytes / 4.2, and a tenth more."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / CHARACTERS_PER_TOKEN * MARGIN)


class TokenCounter:
    """Counts with the server's own tokenizer where it has one (vLLM, llama.cpp), else estimates."""

    def __init__(self, url: str, model: str, key: str | None) -> None:
        parts = urlsplit(url)
        self._root = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        self._url = url
        self._model = model
        self._key = key
        self._kind: Counter | None = None
        self._cache: dict[str, int] = {}

    @property
    def kind(self) -> Counter:
        """Which way works here; tried once."""
        if self._kind is None:
            if self._ask({"model": self._model, "prompt": "one two"}, "count") is not None:
                self._kind = "vllm"
            elif self._ask({"content": "one two"}, "tokens") is not None:
                self._kind = "llama.cpp"
            else:
                self._kind = "estimate"
        return self._kind

    def text(self, text: str) -> int:
        """Tokens of a text alone."""
        if text not in self._cache:
            if len(self._cache) >= 1024:
                self._cache.clear()
            self._cache[text] = self._count(text)
        return self._cache[text]

    def chat(self, messages: Sequence[dict[str, str]]) -> int:
        """Tokens of a chat; exact on vLLM, which applies the template itself."""
        if self.kind == "vllm":
            body = {"model": self._model, "messages": list(messages), "add_generation_prompt": True}
            counted = self._ask(body, "count")
            if counted is not None:
                return counted
        return sum(self.text(message["content"]) + MESSAGE_TOKENS for message in messages) + MESSAGE_TOKENS

    def _count(self, text: str) -> int:
        counted = None
        if self.kind == "vllm":
            counted = self._ask({"model": self._model, "prompt": text}, "count")
        elif self.kind == "llama.cpp":
            counted = self._ask({"content": text}, "tokens")
        return estimate(text) if counted is None else counted

    def _ask(self, body: dict[str, Any], field: str) -> int | None:
        import openai

        try:
            with openai.OpenAI(
                base_url=self._url, api_key=self._key or "none", timeout=QUERY_TIMEOUT_S, max_retries=0
            ) as client:
                answer: Any = client.post(f"{self._root}/tokenize", cast_to=object, body=body)
        except openai.OpenAIError:
            return None
        value = answer.get(field) if isinstance(answer, dict) else None
        if isinstance(value, list):
            return len(value)
        return value if isinstance(value, int) else None

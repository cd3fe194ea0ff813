"""What a remote server says of itself: its models, their windows, and how it counts tokens."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from turnout.config import SERVER_RETRIES
from turnout.engines.remote_errors import cause, normalise, shown_url
from turnout.errors import ConfigurationError, EngineError, UnknownNameError

DEFAULT_WINDOW = 8192
"""Assumed where a server does not say: the smallest that current servers use by default."""

QUERY_TIMEOUT_S = 10.0
CHARACTERS_PER_TOKEN = 4.2
MARGIN = 1.1
MESSAGE_TOKENS = 8
KEPT_COUNTS = 4096

# Where servers put the window into an entry of /v1/models: vLLM, SGLang and others; llama.cpp keeps it under "meta".
_WINDOW_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length")

Counter = Literal["vllm", "text", "llama.cpp", "estimate"]
"""As vLLM, chats and texts; the same for texts alone; as llama.cpp, texts; or not at all."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """The model that was found, and the others that the server has. `window` is None where the server does not say."""

    name: str
    window: int | None
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


def find_model(
    url: str,
    name: str | None,
    key: str | None,
    retries: int = SERVER_RETRIES,
    timeout_s: float = QUERY_TIMEOUT_S,
) -> RemoteModel:
    """Asks /v1/models for `name`, or for the only model where no name is given.

    Raises:
        UnknownNameError: the server has no such model.
        ConfigurationError: no name was given and the server has none or several.
        EngineError: the server can't be reached or refuses, or is none of this kind.
    """
    import openai

    with openai.OpenAI(base_url=url, api_key=key or "none", timeout=timeout_s, max_retries=retries) as client:
        try:
            listed: Any = client.models.list()
        except openai.NotFoundError as error:
            if name is not None:  # some servers have no list of models
                return RemoteModel(name, None, ())
            raise EngineError(
                f"{shown_url(url)} has no list of models", hint="name one with --model-name, and check the URL"
            ) from error
        except openai.OpenAIError as error:
            raise normalise(error, url, name, key, ()) from cause(error, key)
        except Exception:  # what the client makes of another answer, a web page for one, it does not say
            listed = None
        found = getattr(listed, "data", None)
        if not isinstance(found, list):
            raise EngineError(
                f"{shown_url(url)} answers with something else than a list of models",
                hint="check the URL: it usually ends in /v1",
            )
        entries = [entry for entry in found if isinstance(getattr(entry, "id", None), str)]
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
        window = _window(entry.model_extra or {}, lambda: _loaded_window(client, url)) if entry else None
        return RemoteModel(chosen, window, known)


def _window(extra: dict[str, Any], loaded: Callable[[], Any]) -> int | None:
    """Args: loaded: asks a server of llama.cpp what it was started with, which may be less than the model has."""
    meta = extra.get("meta")
    found = [extra.get(field) for field in _WINDOW_FIELDS]
    if isinstance(meta, dict) and "n_ctx_train" in meta:
        found += [loaded(), meta["n_ctx_train"]]
    return next((value for value in found if type(value) is int and value > 0), None)


def _loaded_window(client: Any, url: str) -> Any:
    """Tokens that one request has in a server of llama.cpp; None where it does not say."""
    import openai

    try:
        properties = client.get(f"{_root(url)}/props", cast_to=object)
    except openai.OpenAIError:
        return None
    settings = properties.get("default_generation_settings") if isinstance(properties, dict) else None
    return settings.get("n_ctx") if isinstance(settings, dict) else None


def _root(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def estimate(text: str) -> int:
    """Tokens of a text where the server can't count: UTF-8 bytes / 4.2, and a tenth more."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / CHARACTERS_PER_TOKEN * MARGIN)


class TokenCounter:
    """Counts with the server's own tokenizer where it has one (vLLM, llama.cpp), else estimates. Counts are kept by the
    hash of their text. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None,
        retries: int = SERVER_RETRIES,
        timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._model = model
        self._key = key
        self._retries = retries
        self._timeout_s = timeout_s
        self._kind: Counter | None = None
        self._client: Any = None
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def kind(self) -> Counter:
        """Which way works here; tried once."""
        if self._kind is None:
            chat = [{"role": "user", "content": "one two"}]
            if self._ask({"model": self._model, "messages": chat, "add_generation_prompt": True}, "count") is not None:
                self._kind = "vllm"
            elif self._ask({"model": self._model, "prompt": "one two"}, "count") is not None:
                self._kind = "text"
            elif self._ask({"content": "one two"}, "tokens") is not None:
                self._kind = "llama.cpp"
            else:
                self._kind = "estimate"
        return self._kind

    def text(self, text: str) -> int:
        """Tokens of a text alone."""
        if self.kind == "estimate":
            return estimate(text)
        if self.kind == "llama.cpp":
            return self._kept(text, lambda: self._ask({"content": text}, "tokens"), estimate)
        return self._kept(text, lambda: self._ask({"model": self._model, "prompt": text}, "count"), estimate)

    def chat(self, messages: Sequence[dict[str, str]]) -> int:
        """Tokens of a chat; exact on vLLM, which applies the template itself."""
        if self.kind != "vllm":
            return self._sum(messages)
        body = {"model": self._model, "messages": list(messages), "add_generation_prompt": True}
        # Not the hash of a text: that would be the text which looks like this chat.
        key = "\0" + json.dumps(body)
        return self._kept(key, lambda: self._ask(body, "count"), lambda _: self._sum(messages))

    def _sum(self, messages: Sequence[dict[str, str]]) -> int:
        return sum(self.text(message["content"]) + MESSAGE_TOKENS for message in messages) + MESSAGE_TOKENS

    def _kept(self, text: str, ask: Callable[[], int | None], otherwise: Callable[[str], int]) -> int:
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._counts.get(key)
        if known is None:
            known = ask()
            if known is None:  # what could not be asked this time may be the next
                return otherwise(text)
            with self._lock:
                self._counts[key] = known
                if len(self._counts) > KEPT_COUNTS:
                    self._counts.popitem(last=False)
        return known

    def close(self) -> None:
        """Closes the connections; counting opens them anew."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, body: dict[str, Any], field: str) -> int | None:
        import openai

        try:
            answer: Any = self._connected().post(f"{_root(self._url)}/tokenize", cast_to=object, body=body)
        except openai.OpenAIError:
            return None
        value = answer.get(field) if isinstance(answer, dict) else None
        if isinstance(value, list):
            return len(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def _connected(self) -> Any:
        """One client for all counts: making one costs more than most of them."""
        import openai

        with self._lock:
            if self._client is None:
                self._client = openai.OpenAI(
                    base_url=self._url, api_key=self._key or "none", timeout=self._timeout_s, max_retries=self._retries
                )
            return self._client

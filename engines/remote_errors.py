"""What a remote server's failures mean, in this project's errors. An API key never gets into a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from turnout.errors import EngineError, EngineTimeoutError, TurnoutError

# OpenAI and vLLM say "maximum context length", llama.cpp "available context size", SGLang "model's context length".
_TOO_LONG = re.compile(r"\bcontext[ _](length|size|window)\b", re.IGNORECASE)


def shown_url(url: str) -> str:
    """The URL without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def normalise(error: Exception, url: str, model: str | None, key: str | None, known: tuple[str, ...]) -> TurnoutError:
    """The error to raise for what the client raised.

    Args:
        error: from the openai client or its transport.
        known: names of the models that the server has, for the hint.
    """
    import openai

    if isinstance(error, TurnoutError):
        return error
    where = shown_url(url)
    said = _said(error, key)
    match error:
        case openai.APITimeoutError() | TimeoutError():
            return EngineTimeoutError(f"{where} did not answer in time", hint="allow more time, or try again")
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            given = "the API key was refused" if key else "it wants an API key and none was given"
            return EngineError(f"{where}: {given} (HTTP {error.status_code})", hint="set TURNOUT_API_KEY")
        case openai.NotFoundError():
            names = f"the server has: {', '.join(known)}" if known else "check the URL: it usually ends in /v1"
            return EngineError(f"{where} does not know the model {model!r} (HTTP 404){said}", hint=names)
        case openai.RateLimitError():
            return EngineError(
                f"{where} refuses more requests for now (HTTP 429){said}",
                hint="wait, or ask less often",
                retryable=True,
            )
        case openai.APIStatusError() if error.status_code >= 500:
            return EngineError(
                f"{where} failed (HTTP {error.status_code}){said}", hint="look at the server's log", retryable=True
            )
        case openai.APIStatusError() if _TOO_LONG.search(said):
            return EngineError(
                f"{where} finds the prompt too long (HTTP {error.status_code}){said}",
                hint="set --server-window to what it can read; tokens may be estimated too low here",
            )
        case openai.APIStatusError():
            return EngineError(
                f"{where} refused the request (HTTP {error.status_code}){said}",
                hint="check --model-name and the window of the model",
            )
        case openai.APIConnectionError():
            return EngineError(
                f"{where} can't be reached{said}", hint="check the URL, and that the server runs", retryable=True
            )
    return EngineError(f"the answer of {where} broke off{said}", hint="try again", retryable=True)


def cause(error: Exception, key: str | None) -> Exception | None:
    """What to chain to the error: nothing where the server's message repeats the key."""
    return None if key and key in f"{error} {error!r}" else error


def broke_off(url: str) -> EngineError:
    """The stream ended before the server said that the answer was complete."""
    return EngineError(
        f"the answer of {shown_url(url)} broke off",
        hint="ask again: what came of it is not counted; if it happens often, look at the server's log",
        retryable=True,
    )


def out_of_time(url: str, seconds: float, limit: float, refused: Sequence[int]) -> EngineTimeoutError:
    """The caller's time is over.

    Args:
        refused: HTTP statuses of the tries before.
    """
    return EngineTimeoutError(
        f"{shown_url(url)} was stopped after {seconds:.1f} s, the limit is {limit:g} s{_tries(refused)}",
        hint="ask less often, or allow more time" if refused else "allow more time, or give fewer documents",
    )


def silent(url: str, seconds: float, refused: Sequence[int]) -> EngineTimeoutError:
    """The server is connected and says nothing, or its pause before another try is too long. Args: as `out_of_time`."""
    more = "allow more with --server-timeout-s where it reads long prompts or is busy"
    return EngineTimeoutError(
        f"{shown_url(url)} sent nothing for {seconds:g} s{_tries(refused)}",
        hint=f"ask less often, or {more}" if refused else f"look at the server's log, or {more}",
    )


def _tries(refused: Sequence[int]) -> str:
    return f", {len(refused)} times refused, last with HTTP {refused[-1]}" if refused else ""


def _said(error: Exception, key: str | None) -> str:
    body = getattr(error, "body", None)
    # OpenAI says "message", FastAPI servers say "detail".
    message = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    if not isinstance(message, str):
        cause = error.__cause__ or error
        message = str(cause)
    line = (message.strip().splitlines() or [""])[0][:200]
    if key:
        line = line.replace(key, "***")
    return f": {line}" if line else ""

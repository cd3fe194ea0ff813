"""What a server says that an answer took. Nothing of it is taken to be there, or to be a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; None where the server did not say, or said what can't be."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None

    def updated(self, chunk: Any) -> Usage:
        """With what one chunk of a stream adds: servers tell at the end, or more and more with every chunk.

        Cached tokens stand where OpenAI has them, or in the timings of llama.cpp.
        """
        usage = getattr(chunk, "usage", None)
        prompt = _count(_field(usage, "prompt_tokens"), least=1) or self.prompt_tokens
        completion = _count(_field(usage, "completion_tokens"), least=1) or self.completion_tokens
        cached = _count(_field(_field(usage, "prompt_tokens_details"), "cached_tokens"))
        if cached is None:
            cached = _count(_field(getattr(chunk, "timings", None), "cache_n"))
        if cached is None or (prompt is not None and cached > prompt):
            cached = self.cached_tokens
        return Usage(prompt, completion, cached)


def text_of(chunk: Any) -> str:
    """The new text of a chunk; "" where it has none."""
    text = getattr(getattr(_choice(chunk), "delta", None), "content", None)
    return text if isinstance(text, str) else ""


def has_output(chunk: Any) -> bool:
    """Whether the model has written something, if only thoughts that are no part of the answer."""
    delta = getattr(_choice(chunk), "delta", None)
    return any(_field(delta, name) for name in ("content", "reasoning_content", "reasoning", "refusal", "tool_calls"))


def finish_of(chunk: Any) -> str:
    """Why the answer ends with this chunk; "" where it does not."""
    reason = getattr(_choice(chunk), "finish_reason", None)
    return reason if isinstance(reason, str) else ""


def _choice(chunk: Any) -> Any:
    choices = getattr(chunk, "choices", None)
    return choices[0] if isinstance(choices, list) and choices else None


def _field(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, dict) else getattr(record, name, None)


def _count(value: Any, least: int = 0) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None

"""A request for a chat completion: what is understood, what is let pass, and what is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from turnout.asking import Decoding
from turnout.server.access import Caller
from turnout.server.asked import Count, Over, over
from turnout.server.errors import Refused, unsupported
from turnout.server.service import Service
from turnout.types import Message

_IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
"""Fields of OpenAI's that change nothing of an answer."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "top_p": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "modalities": (None, ["text"]),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "reasoning_effort": (None, "none"),
    "verbosity": (None, "medium"),
}
"""Fields of OpenAI's that can't be done here, with the values that ask for nothing."""


class TextPart(BaseModel):
    """A piece of a message; others than text are refused."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message. `tool_calls` and the like are refused."""

    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    def plain(self, place: str) -> str:
        """Its text.

        Raises:
            Refused: it holds something else, such as an image by its address: nothing is ever fetched.
        """
        if self.role in ("tool", "function") or (self.model_extra or {}).get("tool_calls"):
            raise unsupported(place, "this model calls no tools", "let another model call them, and this one as a tool")
        if not isinstance(self.content, list):
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise unsupported(
                    place, f"a message can't hold {part.type[:40]!r}, only text", "give files as documents"
                )
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream shall have besides."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The form of an answer; only text can be had."""

    model_config = ConfigDict(extra="allow")
    type: Literal["text", "json_object", "json_schema"]


class ChatRequest(BaseModel):
    """OpenAI's request, with `turnout` for what is asked over. The default of `temperature` is 0."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    response_format: ResponseFormat | None = None
    turnout: Over = Field(default_factory=Over)

    def check(self) -> None:
        """Raises Refused: something is asked for that can't be done, or is not known."""
        if self.response_format is not None and self.response_format.type != "text":
            raise unsupported(
                "response_format",
                f"answers can't be bound to {self.response_format.type}",
                "citations, usage and the decision come as JSON in the field turnout of every reply",
            )
        for name, value in (self.model_extra or {}).items():
            if name in _IGNORED:
                continue
            if name not in _NEUTRAL:
                hint = 'it belongs into the field turnout: {"turnout": {...}}' if name in Over.model_fields else ""
                raise Refused(400, f"unknown field {name[:80]!r}", "unknown_parameter", param=name[:80], hint=hint)
            # True == 1: a value and what is neutral are both of one kind.
            if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in _NEUTRAL[name]):
                raise unsupported(name, f"{name} can't be {str(value)[:40]!r} here", "leave it out")

    def asked(self, held: Service, caller: Caller) -> tuple[str, dict[str, Any]]:
        """The question, and the rest as `Turnout.stream` takes it; looks documents up, so not on the event loop.

        Raises:
            Refused: the last message is not the user's or is empty, or documents can't be had.
        """
        turns = [(each.role, each.plain(f"messages.{place}.content")) for place, each in enumerate(self.messages)]
        role, question = turns[-1]
        if role != "user" or not question.strip():
            what = f"the last message is the {role}'s" if role != "user" else "the last message is empty"
            raise Refused(400, what, "invalid_value", param="messages", hint="the user's question comes last")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return question, over(self.turnout, held, caller) | {
            "history": [_turn(role, text) for role, text in turns[:-1] if role in ("user", "assistant")],
            "instructions": "\n\n".join(text for role, text in turns if role in ("system", "developer") and text),
            "decoding": Decoding(
                self.max_completion_tokens or self.max_tokens,
                self.temperature or 0.0,
                tuple(one for one in stop if one),
                self.seed,
            ),
        }


def _turn(role: str, text: str) -> Message:
    return Message("user" if role == "user" else "assistant", text)

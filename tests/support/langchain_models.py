"""Chat models of LangChain for tests: scripted, with tools, slow, failing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

Step = AIMessage | Callable[[list[BaseMessage]], AIMessage]


def calls(name: str, **arguments: Any) -> AIMessage:
    """A message that calls one tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{time.monotonic_ns()}"}])


class Scripted(BaseChatModel):
    """Says the steps of a script, one a call; a step may be a function of the conversation. `tools` are those that it
    was given."""

    steps: list[Any]
    tools: list[Any] = Field(default_factory=list)
    seen: list[list[BaseMessage]] = Field(default_factory=list)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        step = self.steps[len(self.seen)]
        self.seen.append(messages)
        message = step(messages) if callable(step) else step
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Scripted:
        self.tools.extend(tools)
        return self

    @property
    def _llm_type(self) -> str:
        return "scripted"


class Words(BaseChatModel):
    """Streams words, with usage as servers report it.

    Attributes:
        word_s: seconds before each word.
        failure: raised before the first word.
    """

    words: list[str]
    model_name: str = "words-1"
    max_tokens: int | None = None
    temperature: float = 0.7
    word_s: float = 0.0
    failure: Any = None
    asked: list[dict[str, Any]] = Field(default_factory=list)
    ended: list[str] = Field(default_factory=list)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append(
            {
                "messages": [(message.type, message.text) for message in messages],
                "max_tokens": self.max_tokens,
                "temperature": self.temperature,
                "stop": stop,
            }
        )
        try:
            if self.failure is not None:
                raise self.failure
            for word in self.words[: self.max_tokens]:
                time.sleep(self.word_s)
                yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            reason = "length" if self.max_tokens is not None and self.max_tokens < len(self.words) else "stop"
            details = {"cache_read": 7}
            usage = {"input_tokens": 90, "output_tokens": 5, "total_tokens": 95, "input_token_details": details}
            last = AIMessageChunk(content="", usage_metadata=usage, response_metadata={"finish_reason": reason})
            yield ChatGenerationChunk(message=last)
            self.ended.append("whole")
        except GeneratorExit:
            self.ended.append("left")
            raise

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise AssertionError("an answer is streamed")

    @property
    def _llm_type(self) -> str:
        return "words"

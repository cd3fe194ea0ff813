"""From LangChain's messages to a question with what came before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from turnout.langchain.errors import RequestError, UnsupportedError
from turnout.types import Message

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}
_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Asked:
    """The last message of the user, the turns before it, and what system messages want of every answer."""

    question: str
    history: tuple[Message, ...]
    instructions: str


def read(messages: Sequence[BaseMessage]) -> Asked:
    """Reads a conversation: the last message is the question. Earlier ones of one side that follow each other are one
    turn, since models want the sides to take turns.

    Raises:
        RequestError: it does not end with a question.
        UnsupportedError: it holds what no model here reads: pictures, files, tool calls.
    """
    told: list[str] = []
    turns: list[Message] = []
    for message in messages:
        role, text = _role(message), _text(message)
        if role == "system":
            told.append(text)
        else:
            turns.append(Message("user" if role == "user" else "assistant", text))
    if not turns or turns[-1].role != "user" or not turns[-1].text.strip():
        raise RequestError(_missing(messages, turns), hint="let the last message be a human one that asks something")
    return Asked(turns[-1].text, _taking_turns(turns[:-1]), "\n\n".join(text for text in told if text.strip()))


def _taking_turns(turns: Sequence[Message]) -> tuple[Message, ...]:
    merged: list[Message] = []
    for turn in turns:
        if not turn.text.strip():
            continue
        if merged and merged[-1].role == turn.role:
            turn = Message(turn.role, f"{merged.pop().text}\n\n{turn.text}")
        merged.append(turn)
    return tuple(merged)


def _missing(messages: Sequence[BaseMessage], turns: Sequence[Message]) -> str:
    if not messages:
        return "there are no messages"
    if not turns:
        return "the messages hold no question, only what the system says"
    if turns[-1].role != "user":
        return "the messages end with an answer, not with a question"
    return "the last human message is empty"


def _role(message: BaseMessage) -> str:
    match message:
        case SystemMessage():
            return "system"
        case HumanMessage():
            return "user"
        case AIMessage() if not (message.tool_calls or message.invalid_tool_calls):
            return "assistant"
        case ChatMessage() if message.role in _SYSTEM:
            return "system"
        case ChatMessage() if message.role in _ROLES:
            return _ROLES[message.role]
    what = "calls tools" if isinstance(message, AIMessage) else f"is of type {message.type!r}"
    raise UnsupportedError(
        f"a message {what}, which this model neither makes nor reads",
        hint="let another model call tools, and give it this one as a tool: turnout_tool(documents)",
    )


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text":
            texts.append(str(block.get("text", "")))
        elif not isinstance(message, AIMessage):  # another model's reasoning and the like say nothing to this one
            raise UnsupportedError(
                f"a message holds a block of type {block.get('type')!r}, this model reads text alone",
                hint="give a file as a document: bind_documents([path])",
            )
    return "".join(texts)

"""Escalation through the chat model: an option like the others, and chunks that are never taken back."""

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.langchain import ChatTurnout
from turnout.langchain.errors import RequestError
from turnout.types import Context

QUESTION = "Who repaired the lighthouse lamp?"


def chat(**options: object) -> ChatTurnout:
    def answer(context: Context) -> str:
        whole = sum(len(part.text) for part in context.parts) > 6000
        return "Marta Lindqvist" if whole else 'A railway\nQuote: "nobody wrote this down"'

    book = Text("\n\n".join(f"{BOOK} ({number})" for number in range(6)), "book.md")
    engine = FakeEngine(answer, window=20_000)
    turnout = Turnout(engine=engine, embedder=WordEmbedder(), passage_tokens=300)
    return ChatTurnout(turnout=turnout, documents=[book], **options)


@pytest.mark.parametrize("mode", ["before_text", "always"])
def test_a_stream_holds_only_the_answer_that_is_given(mode: str, home: object) -> None:
    model = chat(escalate=mode)
    streamed = list(model.stream(QUESTION))
    assert "".join(chunk.text for chunk in streamed) == model.invoke(QUESTION).text == "Marta Lindqvist"


def test_a_call_may_say_otherwise_and_attempts_are_in_the_usage(home: object) -> None:
    model = chat()
    assert model.invoke(QUESTION).text == "A railway"
    asked = model.invoke(QUESTION, escalate="before_text")
    assert asked.response_metadata["usage"]["attempts"][0]["strategy"] == "rag"


def test_a_mode_that_is_not_known_is_named(home: object) -> None:
    with pytest.raises(RequestError, match="unknown escalate mode 'soon'"):
        chat(escalate="soon").invoke(QUESTION)

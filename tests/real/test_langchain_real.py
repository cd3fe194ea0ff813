"""LangChain's loop and the chat model over the default models."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from support.langchain_models import Scripted, calls

from turnout import Text, Turnout
from turnout.langchain import ChatTurnout, TurnoutRetriever, turnout_tool

pytestmark = pytest.mark.real

LAMP = Text(
    "The harbour office keeps a record of every ship. Its clerk writes the names in blue ink.\n\n"
    "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal.",
    "lamp.md",
)
FERRY = Text(
    "Rain fell on the slate roofs for most of the week.\n\nThe ferry to Osterholm costs four crowns on Sundays.",
    "ferry.md",
)


def report(messages: list[BaseMessage]) -> AIMessage:
    return AIMessage(" / ".join(message.text for message in messages if isinstance(message, ToolMessage)))


async def test_an_agent_asks_two_documents_and_the_default_model_answers(real_home: Path) -> None:
    with Turnout() as shared:
        asks = turnout_tool([LAMP, FERRY], about="the harbour", turnout=shared)
        script = Scripted(
            steps=[
                calls(asks.name, question="Who repaired the lighthouse lamp in 1893?", document="lamp.md"),
                calls(asks.name, question="What does the ferry to Osterholm cost on Sundays?"),
                report,
            ]
        )
        agent = create_agent(script, [asks])
        state = await agent.ainvoke({"messages": [("user", "Who repaired the lamp, and what does the ferry cost?")]})
    lamp, ferry = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert "Marta Lindqvist" in lamp.content
    assert "lamp.md l.3" in lamp.content
    assert "four crowns" in ferry.content
    assert "ferry.md l." in ferry.content  # which line it names is not always the right one
    assert lamp.artifact.model.name == ferry.artifact.model.name == "smollm2-135m"
    assert "Marta Lindqvist" in state["messages"][-1].text


async def test_the_default_model_streams_what_it_answers_and_reads_a_document_once(real_home: Path) -> None:
    with Turnout() as shared:
        chat = ChatTurnout(turnout=shared, documents=[LAMP])
        whole = chat.invoke("Who repaired the lighthouse lamp in 1893?")
        streamed = reduce(add, [chunk async for chunk in chat.astream("Who repaired the lighthouse lamp in 1893?")])
        assert streamed.text == whole.text
        assert streamed.content_blocks[0]["annotations"] == whole.content_blocks[0]["annotations"]
        assert "Marta Lindqvist" in whole.text
        assert whole.usage_metadata["input_token_details"]["cache_read"] == 0
        assert streamed.usage_metadata["input_token_details"]["cache_read"] > 0
        found = TurnoutRetriever(turnout=shared, documents=[LAMP, FERRY], k=1).invoke("How much is the boat trip?")
    assert found[0].metadata["title"] == "ferry.md"

"""The tool: an agent asks documents, and gets an answer that says where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field

from turnout.client import Turnout
from turnout.errors import TurnoutError
from turnout.inputs import Input
from turnout.langchain import call, sources
from turnout.langchain.opened import Opened
from turnout.types import Answer, Budget, Citation, Document, title_of

NAME = "ask_documents"
SHOWN_TITLES = 20


class Question(BaseModel):
    """What an agent gives."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(
        description="One complete question in plain words. It is read on its own: name people, things and dates, and "
        "write nothing like 'it' or 'the second one'. Ask one thing at a time."
    )
    document: str | None = Field(
        default=None,
        description="Title of the only document to ask, where the question is about that one; leave it out for all.",
    )


def turnout_tool(
    documents: Any = None,
    *,
    collection: str | None = None,
    turnout: Turnout | None = None,
    name: str = NAME,
    about: str = "",
    budget: Budget | Mapping[str, Any] | None = None,
    **options: Any,
) -> BaseTool:
    """A tool that answers questions from documents, for an agent of any framework that takes LangChain's tools.

    The agent reads the answer with its quotes and their places; the whole `Answer` is the message's artifact. What
    can't be answered, or asked, it is told in words, so that it can go on.

    Args:
        documents: what to answer from, as `Turnout.ask` takes them.
        collection: a collection of the library instead.
        turnout: one that is open already, to share its model and library; else one is made of `options`.
        name: of the tool; give each its own where an agent has several.
        about: what the documents are, for the agent: "the contracts of Acme, 2019 to 2024".
        budget: limits of an answer, as a `turnout.Budget` or its mapping.
    """
    limits = call.budget(budget)
    opened = Opened.of(turnout, **options)
    given = sources.listed(documents)

    def prepared(document: str | None) -> list[Input]:
        asked = sources.resolve(opened.turnout(), given, collection)
        return asked if document is None else [_named(document, asked, opened.turnout())]

    def ask(question: str, document: str | None = None) -> tuple[str, Answer]:
        try:
            answer = opened.turnout().ask(question, prepared(document), budget=limits)
        except TurnoutError as error:
            raise ToolException(str(error)) from error
        return told(answer), answer

    async def aask(question: str, document: str | None = None) -> tuple[str, Answer]:
        try:
            asked = await asyncio.to_thread(prepared, document)
            answer = await opened.turnout().aask(question, asked, budget=limits)
        except TurnoutError as error:
            raise ToolException(str(error)) from error
        return told(answer), answer

    return StructuredTool.from_function(
        func=ask,
        coroutine=aask,
        name=name,
        description=_description(about, given),
        args_schema=Question,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_misused,
    )


def told(answer: Answer) -> str:
    """An answer as an agent reads it."""
    if answer.abstained:
        near = f"\nNearest passage, not an answer: {_cited(answer.nearest)}" if answer.nearest else ""
        return f"The documents do not say.{near}"
    quotes = [f"[{number}] {_cited(cited)}" for number, cited in enumerate(answer.citations, start=1) if cited.found]
    return "\n".join([answer.text, *quotes, *(f"Note: {note}" for note in answer.notes)])


def _misused(error: Exception) -> str:
    return f"{error}\nhint: give `question`, and `document` where it is about one of them"


def _cited(citation: Citation) -> str:
    return f'{citation.place}: "{citation.quote}"'


def _description(about: str, documents: list[Input] | None) -> str:
    titles = [title_of(name) for name in sources.names(documents or [])]
    shown = ", ".join(titles[:SHOWN_TITLES]) + (
        f" and {len(titles) - SHOWN_TITLES} more" * (len(titles) > SHOWN_TITLES)
    )
    return " ".join(
        filter(
            None,
            [
                f"Answers a question from documents{f': {about}' if about else ''}.",
                "Returns a short answer with the sentences that it rests on and where they stand, or says that the "
                "documents do not say. Ask again in other words, or one part at a time, where that helps.",
                f"Documents: {shown}." if shown else "",
            ],
        )
    )


def _named(title: str, asked: list[Input], turnout: Turnout) -> Document:
    """The document that an agent names."""
    titles = []
    for document in turnout.load(*asked):
        if document.title == title:
            return document
        titles.append(document.title)
    raise ToolException(f"there is no document {title!r}; there are: {', '.join(titles[:SHOWN_TITLES])}")

"""The tool: an agent asks documents, and gets an answer that says where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from turnout.client import Turnout
from turnout.documents import DocumentInfo, title_of
from turnout.errors import TurnoutError
from turnout.inputs import Input
from turnout.langchain import call, sources
from turnout.langchain.opened import Opened
from turnout.types import Answer, Budget, Citation

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
) -> TurnoutTool:
    """A tool that answers questions from documents, for an agent of any framework that takes LangChain's tools.

    The agent reads the answer with its quotes and their places; the whole `Answer` is the message's artifact. What
    can't be answered, or asked, it is told in words, so that it can go on.

    Args:
        documents: what to answer from, as `Turnout.ask` takes them.
        collection: a collection of the library instead.
        turnout: one that is open already, to share its model and library; else one is made of `options`, and the tool's
            `close` frees it.
        name: of the tool; give each its own where an agent has several.
        about: what the documents are, for the agent: "the contracts of Acme, 2019 to 2024".
        budget: limits of an answer, as a `turnout.Budget` or its mapping.
    """
    limits = call.budget(budget)
    opened = Opened.of(turnout, **options)
    given, collection = sources.chosen(documents, collection)

    def prepared(document: str | None) -> list[Input]:
        asked = sources.resolve(opened.turnout(), given, collection)
        return [_named(document, asked, opened.turnout())] if document and document.strip() else asked

    def ask(question: str, document: str | None = None) -> tuple[str, Answer]:
        try:
            answer = opened.turnout().ask(question, prepared(document), collection=collection, budget=limits)
        except TurnoutError as error:
            raise ToolException(str(error)) from error
        return told(answer), answer

    async def aask(question: str, document: str | None = None) -> tuple[str, Answer]:
        try:
            asked = await asyncio.to_thread(prepared, document)
            answer = await opened.turnout().aask(question, asked, collection=collection, budget=limits)
        except TurnoutError as error:
            raise ToolException(str(error)) from error
        return told(answer), answer

    tool = TurnoutTool(
        func=ask,
        coroutine=aask,
        name=name,
        description=_description(about, given),
        args_schema=Question,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_misused,
    )
    tool._opened = opened
    return tool


class TurnoutTool(StructuredTool):
    """What `turnout_tool` makes."""

    _opened: Opened = PrivateAttr()

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()


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
    names = sources.names(documents or [])
    titles = [title_of(name) for name in names]
    # Where two have the same title, each is called by its whole name.
    called = [title if titles.count(title) == 1 else name for title, name in zip(titles, names, strict=True)]
    shown = ", ".join(called[:SHOWN_TITLES]) + (
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


def _named(name: str, asked: list[Input], turnout: Turnout) -> DocumentInfo:
    """The document that an agent names, by title or by source."""
    documents = [document.info() for document in turnout.read(asked)]
    by_title = [document for document in documents if document.title == name]
    found = by_title if len(by_title) == 1 else [document for document in documents if document.source == name]
    if len(found) == 1:
        return found[0]
    if by_title:
        of = ", ".join(document.source for document in by_title)
        raise ToolException(f"{name!r} is the title of {len(by_title)} documents; name one by its source: {of}")
    titles = ", ".join(document.title for document in documents[:SHOWN_TITLES])
    raise ToolException(f"there is no document {name!r}; there are: {titles}")

"""Which documents a call is about: what traces see of them, and what LangChain's cache of answers knows of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import PLAIN, pieces
from turnout.langchain import ChatTurnout, TurnoutRetriever, sources

QUESTION = "Who repaired the lighthouse lamp?"
OLD, NEW = "Olga Berg repaired the lighthouse lamp.", "Per Holm repaired the lighthouse lamp."
SECRET = "Osterholm, 41, owes nine crowns."


@pytest.fixture
def shared():
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as turnout:
        yield turnout


class Watch(BaseCallbackHandler):
    """Keeps what callbacks are told of a model or a retriever."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **about: Any) -> None:
        self.told.append(f"{serialized} {about}")

    def on_retriever_start(self, serialized: Any, query: str, **about: Any) -> None:
        self.told.append(f"{serialized} {about}")


def test_no_trace_holds_the_text_of_documents_or_the_turnout(shared: Turnout) -> None:
    documents = [Text(f"{BOOK} {SECRET}", "book.md"), Document(page_content=SECRET)]
    watch = Watch()
    chat = ChatTurnout(turnout=shared, documents=documents, callbacks=[watch])
    chat.invoke(QUESTION)
    chat.invoke(QUESTION, documents=documents)
    retriever = TurnoutRetriever(turnout=shared, documents=documents).with_config(callbacks=[watch])
    retriever.invoke(QUESTION)
    retriever.invoke(QUESTION, documents=documents)
    assert len(watch.told) == 4
    for told in (*watch.told, repr(chat), repr(retriever), str(chat._serialized), repr(retriever.bound)):
        assert "Osterholm" not in told
        assert "turnout.client.Turnout object" not in told


# --- the cache of answers --------------------------------------------------------------------------------------------


def named(shared: Turnout, tmp_path: Path) -> Callable[[str], Any]:
    def keep(text: str) -> str:
        path = tmp_path / "rules.txt"
        path.write_text(text, encoding="utf-8")
        shared.add(path)
        return "rules.txt"

    return keep


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_an_answer_of_an_older_version_is_never_served(shared: Turnout, tmp_path: Path, mode: str) -> None:
    """Whatever the document is given as: a name in the library, a path, a folder, a collection."""
    keep = named(shared, tmp_path)
    chat = ChatTurnout(turnout=shared, cache=InMemoryCache())
    keep(OLD)
    asked: list[dict[str, Any]] = [
        {"documents": ["rules.txt"]},
        {"documents": [str(tmp_path / "rules.txt")]},
        {"documents": [tmp_path]},
        {"collection": "library"},
    ]

    async def ask(options: dict[str, Any]) -> str:
        message = await chat.ainvoke(QUESTION, **options) if mode == "async" else chat.invoke(QUESTION, **options)
        return message.text

    for options in asked:
        assert [await ask(options) for _ in range(2)] == [OLD] * 2
    count = len(shared._engine.contexts)
    assert count == len(asked), "each was answered once"
    keep(NEW + " ")
    for options in asked:
        assert await ask(options) == NEW


def test_a_link_to_nothing_costs_no_answer(shared: Turnout, tmp_path: Path) -> None:
    (tmp_path / "lamp.txt").write_text(OLD, encoding="utf-8")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    chat = ChatTurnout(turnout=shared, documents=[tmp_path], cache=InMemoryCache())
    assert chat.invoke(QUESTION).text == OLD
    for path in (tmp_path / "gone.txt", "~nobody-of-that-name/x", tmp_path / "*.txt"):
        assert sources.identity(shared, [path])


@pytest.mark.parametrize("where", ["own", "global"])
async def test_an_async_call_asks_for_its_documents_off_the_event_loop(
    where: str, shared: Turnout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(shared, tmp_path)(OLD)
    loop, used = threading.get_ident(), []
    database = shared._opened().database
    for name in ("read", "write"):
        plain = getattr(database, name)
        monkeypatch.setattr(
            database, name, lambda *given, _plain=plain: used.append(threading.get_ident()) or _plain(*given)
        )
    seen = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **o: used.append(threading.get_ident()) or seen(path, **o))
    if where == "global":
        set_llm_cache(InMemoryCache())
    try:
        chat = ChatTurnout(turnout=shared, **({"cache": InMemoryCache()} if where == "own" else {}))
        for _ in range(2):
            await chat.ainvoke(QUESTION, documents=["rules.txt", tmp_path])
            await asyncio.gather(*(chat.ainvoke(QUESTION, collection="library") for _ in range(3)))
    finally:
        set_llm_cache(None)
    assert used
    assert loop not in used


# --- the question ----------------------------------------------------------------------------------------------------


def test_the_last_message_alone_is_the_question() -> None:
    engine = FakeEngine()
    chat = ChatTurnout(turnout=Turnout(engine=engine), documents=[Text(BOOK)])
    chat.invoke(
        [
            HumanMessage("Hello."),
            HumanMessage("I sail."),
            AIMessage("Good."),
            HumanMessage("It is about the lighthouse."),
            HumanMessage("In Osterholm."),
            HumanMessage(QUESTION),
        ]
    )
    context = engine.contexts[-1]
    assert context.question == QUESTION
    assert [(turn.role, turn.text) for turn in context.history] == [
        ("user", "Hello.\n\nI sail."),
        ("assistant", "Good."),
        ("user", "It is about the lighthouse.\n\nIn Osterholm."),
    ]
    *_, before, last = pieces(context, PLAIN)
    assert [before.role, last.role] == ["assistant", "user"], "templates want the sides to take turns"
    assert last.text.startswith("It is about the lighthouse.\n\nIn Osterholm.\n\n")
    assert last.text.endswith(QUESTION)

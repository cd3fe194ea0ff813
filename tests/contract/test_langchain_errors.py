"""Bad input through LangChain: its own kinds of errors, with our hint, before anything is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import LangChainException
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import ValidationError
from support.library import BOOK

from turnout import Text, Turnout, TurnoutError
from turnout.engines.fake import FakeEngine
from turnout.errors import BudgetError, DocumentError, EngineError, NoDocumentsError
from turnout.langchain import (
    ChatTurnout,
    EngineFailure,
    RequestError,
    TurnoutLoader,
    TurnoutRetriever,
    TurnoutVectorStore,
    UnsupportedError,
    turnout_tool,
)

QUESTION = "Who repaired the lighthouse lamp?"
CALLED = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1"}])
PICTURE = {"type": "image", "url": "https://example.org/lamp.png"}


@tool
def adder(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@pytest.fixture
def model() -> ChatTurnout:
    return ChatTurnout(turnout=Turnout(engine=FakeEngine()), documents=[Text(BOOK, "book.md")])


Ask = Callable[[ChatTurnout], Any]

BAD_REQUESTS: dict[str, tuple[Ask, str]] = {
    "no messages": (lambda m: m.invoke([]), "there are no messages"),
    "system only": (lambda m: m.invoke([SystemMessage("Be brief.")]), "no question"),
    "answer last": (lambda m: m.invoke([HumanMessage("Who?"), AIMessage("Marta.")]), "end with an answer"),
    "empty": (lambda m: m.invoke("  "), "is empty"),
    "unknown document": (lambda m: m.invoke(QUESTION, documents=["no-such-id"]), "no-such-id"),
    "unknown collection": (lambda m: m.invoke(QUESTION, collection="acme"), "holds nothing"),
    "no documents": (lambda m: ChatTurnout(turnout=m.turnout).invoke(QUESTION), "no documents to answer from"),
    "not a document": (lambda m: m.invoke(QUESTION, documents=[7]), "int"),
    "impossible budget": (lambda m: m.invoke(QUESTION, budget={"max_prompt_tokens": 1}), "max_prompt_tokens"),
    "senseless budget": (lambda m: m.invoke(QUESTION, budget={"max_total_s": -1}), "max_total_s"),
    "unknown limit": (lambda m: m.invoke(QUESTION, budget={"max_totals": 3}), "max_totals"),
    "no budget": (lambda m: m.invoke(QUESTION, budget=3), "the budget is 3"),
    "unknown strategy": (lambda m: m.invoke(QUESTION, strategy="ragg"), "ragg"),
    "unknown option": (lambda m: m.invoke(QUESTION, temprature=1), "temprature"),
    "temperature": (lambda m: m.invoke(QUESTION, temperature=-1), "temperature"),
    "max_tokens": (lambda m: m.invoke(QUESTION, max_tokens=-3), "-3 tokens"),
    "timeout": (lambda m: m.invoke(QUESTION, timeout=-3), "-3 s"),
    "negative max_retries": (lambda m: m.invoke(QUESTION, max_retries=-1), "max_retries is -1"),
    "max_retries in words": (lambda m: m.invoke(QUESTION, max_retries="3"), "max_retries is '3'"),
    "temperature in words": (lambda m: m.invoke(QUESTION, temperature="hot"), "temperature is 'hot'"),
    "max_tokens in words": (lambda m: m.invoke(QUESTION, max_tokens="5"), "max_tokens is '5'"),
    "timeout in words": (lambda m: m.invoke(QUESTION, timeout="5"), "timeout_s is '5'"),
    "seed in words": (lambda m: m.invoke(QUESTION, seed="x"), "seed is 'x'"),
    "stop is a number": (lambda m: m.invoke(QUESTION, stop=5), "stop is 5"),
    "stop of numbers": (lambda m: m.invoke(QUESTION, stop=[1]), "stop string is 1"),
    "strategy is a number": (lambda m: m.invoke(QUESTION, strategy=7), "strategy 7"),
    "model is a number": (lambda m: m.invoke(QUESTION, model=7), "the model is 7"),
    "a document without a name": (lambda m: m.invoke(QUESTION, documents=[""]), "names no document"),
    "documents are a number": (lambda m: m.invoke(QUESTION, documents=7), "7 is no document"),
    "documents and collection": (
        lambda m: m.invoke(QUESTION, documents=[Text(BOOK)], collection="acme"),
        "documents and a collection",
    ),
}

UNSUPPORTED: dict[str, tuple[Ask, str]] = {
    "image": (lambda m: m.invoke([HumanMessage([{"type": "text", "text": "Who is this?"}, PICTURE])]), "'image'"),
    "old image": (lambda m: m.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])]), "image_url"),
    "file": (lambda m: m.invoke([HumanMessage([{"type": "file", "base64": "aGk="}])]), "'file'"),
    "tool call": (
        lambda m: m.invoke([HumanMessage("Add."), CALLED, ToolMessage("3", tool_call_id="1")]),
        "calls tools",
    ),
    "tool message": (lambda m: m.invoke([ToolMessage("3", tool_call_id="1"), HumanMessage("So?")]), "'tool'"),
    "strange role": (lambda m: m.invoke([ChatMessage("hi", role="narrator"), HumanMessage("So?")]), "'chat'"),
    "bind_tools": (lambda m: m.bind_tools([adder]), "tools"),
    "tools": (lambda m: m.invoke(QUESTION, tools=[{"type": "function"}]), "tools"),
    "structured output": (lambda m: m.with_structured_output({"title": "x", "type": "object"}), "tools"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_a_value_error_of_langchain_with_a_hint(name: str, model: ChatTurnout) -> None:
    ask, said = BAD_REQUESTS[name]
    with pytest.raises(RequestError, match=said) as refused:
        ask(model)
    shaped(refused.value, ValueError)
    assert engine(model).contexts == [], "nothing was generated"


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_the_model_can_not_do_is_a_not_implemented_error_with_a_hint(name: str, model: ChatTurnout) -> None:
    ask, said = UNSUPPORTED[name]
    with pytest.raises(UnsupportedError, match=said) as refused:
        ask(model)
    shaped(refused.value, NotImplementedError)
    assert engine(model).contexts == []


def shaped(error: TurnoutError, kind: type[Exception]) -> None:
    assert isinstance(error, LangChainException)
    assert isinstance(error, kind)
    assert error.hint
    assert str(error) == f"{error.message}\nhint: {error.hint}"


def engine(model: ChatTurnout) -> FakeEngine:
    return model.turnout._engine


async def test_every_way_of_calling_gives_the_same_error(model: ChatTurnout) -> None:
    async def last(stream: Any) -> None:
        async for _ in stream:
            pass

    bad = {"budget": {"max_prompt_tokens": 1}}
    for call in (model.invoke, lambda q, **o: list(model.stream(q, **o)), lambda q, **o: model.batch([q], **o)):
        with pytest.raises(RequestError, match="max_prompt_tokens") as refused:
            call(QUESTION, **bad)
        assert isinstance(refused.value.__cause__, BudgetError)
    for make in (lambda: model.ainvoke(QUESTION, **bad), lambda: last(model.astream(QUESTION, **bad))):
        with pytest.raises(RequestError, match="max_prompt_tokens"):
            await make()


def test_a_batch_gives_errors_beside_answers(model: ChatTurnout) -> None:
    first, second = model.batch([QUESTION, " "], return_exceptions=True)
    assert "Marta" in first.text
    assert isinstance(second, RequestError)


def test_an_unknown_option_of_the_constructor_names_the_nearest(model: ChatTurnout) -> None:
    with pytest.raises(ValueError, match="did you mean 'temperature'"):
        ChatTurnout(temprature=0.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"documents": [Text(BOOK)], "collection": "acme"}, "documents and a collection"),
        ({"documents": 7}, "7 is no document"),
        ({"max_retries": -1}, "max_retries"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_constructor_s_errors_are_pydantic_s_which_are_value_errors(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        ChatTurnout(**given)
    assert isinstance(refused.value, ValueError)


def test_a_bad_environment_is_told_in_langchain_s_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_LOG", "everything")
    with pytest.raises(RequestError, match="log level 'everything'"):
        ChatTurnout(documents=[Text(BOOK)]).invoke(QUESTION)


def test_a_model_that_is_not_here_is_told_with_every_way_to_get_it() -> None:
    with pytest.raises(EngineFailure, match="turnout models pull"):
        ChatTurnout(documents=[Text(BOOK)]).invoke(QUESTION)


def test_what_would_be_ignored_is_refused(model: ChatTurnout) -> None:
    for made in (ChatTurnout, TurnoutRetriever, TurnoutVectorStore, TurnoutLoader, turnout_tool):
        with pytest.raises(ValueError, match="home can't be changed of a turnout that is open"):
            made(turnout=model.turnout, home="/elsewhere")
    with pytest.raises(ValueError, match="model, log can't be changed"):
        ChatTurnout(turnout=model.turnout, model="other", log="off")


def test_tools_that_are_none_change_nothing(model: ChatTurnout) -> None:
    assert "Marta" in model.bind_tools([]).invoke(QUESTION, tools=[]).text


@pytest.mark.parametrize(("retryable", "tries"), [(True, 3), (False, 1)])
async def test_a_failure_that_may_pass_is_tried_again(
    retryable: bool, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.langchain.answering._wait", lambda attempt: 0.0)
    failing = FakeEngine(failure=EngineError("the server is busy", hint="wait", retryable=retryable))
    model = ChatTurnout(turnout=Turnout(engine=failing), documents=[Text(BOOK)], max_retries=2)
    for ask in (lambda: model.invoke(QUESTION), lambda: list(model.stream(QUESTION))):
        failing.contexts.clear()
        with pytest.raises(EngineFailure, match="busy") as failed:
            ask()
        assert len(failing.contexts) == tries
        assert failed.value.is_retryable == failed.value.retryable == retryable
        assert failed.value.hint == "wait"
    failing.contexts.clear()
    with pytest.raises(EngineFailure, match="busy"):
        await model.ainvoke(QUESTION)
    assert len(failing.contexts) == tries


def test_a_failure_that_passes_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.langchain.answering._wait", lambda attempt: 0.0)
    failing = FakeEngine(failure=EngineError("the server is busy", retryable=True))
    model = ChatTurnout(turnout=Turnout(engine=failing), documents=[Text(BOOK)], max_retries=1)
    plain = failing.generate

    def fails_once(*given: Any) -> Any:
        try:
            yield from plain(*given)
        finally:
            failing._failure = None

    monkeypatch.setattr(failing, "generate", fails_once)
    assert "Marta" in model.invoke(QUESTION).text


# --- the others ------------------------------------------------------------------------------------------------------


async def test_the_retriever(model: ChatTurnout) -> None:
    retriever = TurnoutRetriever(turnout=model.turnout)
    with pytest.raises(RequestError, match="no documents to answer from"):
        retriever.invoke(QUESTION)
    with pytest.raises(RequestError, match="k is 0"):
        retriever.invoke(QUESTION, documents=[Text(BOOK)], k=0)
    with pytest.raises(RequestError, match="question is empty"):
        await retriever.ainvoke(" ", documents=[Text(BOOK)])
    with pytest.raises(RequestError, match=r"missing\.pdf") as refused:
        await retriever.ainvoke(QUESTION, documents=["missing.pdf"])
    assert isinstance(refused.value.__cause__, DocumentError)
    both = {"documents": [Text(BOOK)], "collection": "acme"}
    with pytest.raises(RequestError, match="documents and a collection"):
        retriever.invoke(QUESTION, **both)
    with pytest.raises(ValueError, match="documents and a collection"):
        TurnoutRetriever(turnout=model.turnout, **both)
    with pytest.raises(ValueError, match="did you mean 'documents'"):
        TurnoutRetriever(turnout=model.turnout, document=[Text(BOOK)])


def test_the_vector_store_refuses_what_it_would_ignore(model: ChatTurnout) -> None:
    store = TurnoutVectorStore(turnout=model.turnout)
    ignored: list[Callable[..., Any]] = [
        lambda **o: store.add_texts(["a"], **o),
        lambda **o: store.add_documents([Document(page_content="a")], **o),
        lambda **o: store.delete(["a"], **o),
        lambda **o: store.similarity_search("a", **o),
        lambda **o: store.similarity_search_with_score("a", **o),
        lambda **o: store.similarity_search_with_relevance_scores("a", **o),
        lambda **o: store.similarity_search_by_vector([1.0], **o),
        lambda **o: store.max_marginal_relevance_search("a", **o),
        lambda **o: store.max_marginal_relevance_search_by_vector([1.0], **o),
    ]
    for call in ignored:
        with pytest.raises(RequestError, match="no option 'filters'"):
            call(filters={"kind": "fare"})


def test_the_vector_store(model: ChatTurnout) -> None:
    store = TurnoutVectorStore(turnout=model.turnout)
    with pytest.raises(RequestError, match="2 texts, 1 metadata"):
        store.add_texts(["a", "b"], [{}])
    with pytest.raises(RequestError, match="metadata of '1'"):
        store.add_texts(["a"], [{"when": object()}], ids=["1"])
    store.add_texts(["a"])
    with pytest.raises(RequestError, match="embedder"):
        store.similarity_search("a")
    with pytest.raises(RequestError, match="embedder can't be changed"):
        TurnoutVectorStore(store.embeddings, turnout=model.turnout)


def test_the_loader(model: ChatTurnout) -> None:
    loaded = TurnoutLoader(Text("one"), "missing.pdf", turnout=model.turnout).lazy_load()
    assert next(loaded).page_content == "one"
    with pytest.raises(RequestError, match=r"missing\.pdf"):
        next(loaded)


async def test_the_tool_tells_the_agent_in_words(model: ChatTurnout) -> None:
    asks = turnout_tool(Text(BOOK, "book.md"), turnout=model.turnout)
    for given, said in [
        ({"question": QUESTION, "document": "ship.md"}, "there is no document 'ship.md'; there are: book.md"),
        ({"question": " "}, "the question is empty"),
        ({"query": QUESTION}, "question"),
    ]:
        call = {"type": "tool_call", "name": asks.name, "id": "1", "args": given}
        for message in (asks.invoke(call), await asks.ainvoke(call)):
            assert message.status == "error"
            assert said in message.content
    with pytest.raises(RequestError, match="documents and a collection"):
        turnout_tool(Text(BOOK), collection="acme", turnout=model.turnout)
    nothing = turnout_tool(collection="acme", turnout=model.turnout)
    assert "holds nothing" in nothing.invoke({"question": QUESTION})


def test_no_documents_error_stays_the_cause(model: ChatTurnout) -> None:
    with pytest.raises(RequestError) as refused:
        model.invoke(QUESTION, collection="acme")
    assert isinstance(refused.value.__cause__, NoDocumentsError)

"""LangChain's own standard suites, all that apply: on the fake engine, and on a tiny model of random weights."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests, ToolsUnitTests
from support import bands, tiny_models
from support.able import AbleEngine
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.langchain import ChatTurnout, TurnoutEmbeddings, TurnoutRetriever, TurnoutVectorStore, turnout_tool

SMALL = "The light stands on the island. Hello, it says to the sea. How are you, says the sea."


@pytest.fixture(autouse=True)
def _open(request: pytest.FixtureRequest, home: Path):
    """The suites make their own models, often; those share one engine and one library a test."""
    if request.cls is None:
        yield
        return
    engine = (
        request.getfixturevalue("tiny_engine")
        if "Tiny" in request.cls.__name__
        else FakeEngine(name="fake-1", capabilities=frozenset({"prefix_cache"}))
    )
    with Turnout(engine=engine, embedder=WordEmbedder()) as turnout:
        request.cls.shared = turnout
        yield
        del request.cls.shared


@pytest.fixture(scope="module")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory):
    import torch

    from turnout.engines.local import LocalEngine

    torch.set_num_threads(1)
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny", max_position_embeddings=1024)
    engine = LocalEngine(folder, device="cpu", dtype="float32")
    yield engine
    engine.close()


class Chat:
    """What both suites of chat models are told."""

    shared: Turnout
    document = Text(BOOK, "book.md")

    @property
    def chat_model_class(self) -> type[ChatTurnout]:
        return ChatTurnout

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"turnout": self.shared, "documents": [self.document]}

    # Tools are refused, with a hint; so is an answer of a given form, which LangChain makes by tools.
    has_tool_calling = False
    has_structured_output = False


class TestChatUnit(Chat, ChatModelUnitTests):
    pass


class TestChatIntegration(Chat, ChatModelIntegrationTests):
    supports_model_override = True
    model_override_value = "fake"

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatTurnout(**self.chat_model_params)
        model.invoke("Hello, says the sea?")
        again = model.stream if stream else model.invoke
        found = again("Hello, says the sea?")
        message = reduce(add, found) if stream else found
        assert message.usage_metadata["input_token_details"]["cache_read"] > 0
        return message


class TestTinyChatUnit(TestChatUnit):
    document = Text(SMALL)


class TestTinyChatIntegration(TestChatIntegration):
    document = Text(SMALL)


class TestRetriever(RetrieversIntegrationTests):
    shared: Turnout

    @property
    def retriever_constructor(self) -> type[TurnoutRetriever]:
        return TurnoutRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"turnout": self.shared, "documents": [Text(BOOK, "book.md")]}

    @property
    def retriever_query_example(self) -> str:
        return "Who repaired the lighthouse lamp?"


LAMP = " ".join(f"The lighthouse lamp was lit in {year}. {'The sea was calm. ' * 9}" for year in range(1890, 1896))


class TestReadingRetriever(TestRetriever):
    """The model points at sentences: of a text that has as many of them as the suite asks for."""

    by = "chunkfree"

    @pytest.fixture(autouse=True)
    def _able(self, home: Path):
        with Turnout(engine=AbleEngine(), embedder=WordEmbedder()) as turnout:
            type(self).shared = turnout
            yield

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"turnout": self.shared, "documents": [Text(LAMP, "lamp.md")], "retriever": self.by}


class TestLookingRetriever(TestReadingRetriever):
    """It shows what it looks at."""

    by = "attention"


class TestBandRetriever(TestRetriever):
    """A learned band, of random weights: about half of the ranking."""

    @pytest.fixture(autouse=True)
    def _banded(self, home: Path, tmp_path: Path):
        embedder = WordEmbedder()
        policy = bands.saved(tmp_path / "ldar", embedder=embedder.fingerprint[:12])
        with Turnout(engine=FakeEngine(), embedder=embedder, ldar=policy) as turnout:
            type(self).shared = turnout
            yield

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"turnout": self.shared, "documents": [Text(BOOK * 4, "book.md")], "retriever": "ldar"}


class Embedding:
    """What both suites of embeddings are told."""

    shared: Turnout

    @property
    def embeddings_class(self) -> type[TurnoutEmbeddings]:
        return TurnoutEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"turnout": self.shared}


class TestEmbeddingsUnit(Embedding, EmbeddingsUnitTests):
    pass


class TestEmbeddingsIntegration(Embedding, EmbeddingsIntegrationTests):
    pass


class TestVectorStore(VectorStoreIntegrationTests):
    """With the suite's own embeddings: a library whose vectors LangChain makes."""

    @pytest.fixture
    def vectorstore(self, home: Path):
        store = TurnoutVectorStore(self.get_embeddings())
        yield store
        store.close()


class TestSharedVectorStore(VectorStoreIntegrationTests):
    """In a library that is open already, with its own embedder."""

    shared: Turnout

    @pytest.fixture
    def vectorstore(self) -> TurnoutVectorStore:
        return TurnoutVectorStore(turnout=self.shared, collection="notes")


class Tool:
    """What both suites of tools are told."""

    shared: Turnout

    @property
    def tool_constructor(self) -> BaseTool:
        return turnout_tool(Text(BOOK, "book.md"), turnout=self.shared)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "Who repaired the lighthouse lamp?", "document": "book.md"}


class TestToolUnit(Tool, ToolsUnitTests):
    pass


class TestToolIntegration(Tool, ToolsIntegrationTests):
    pass

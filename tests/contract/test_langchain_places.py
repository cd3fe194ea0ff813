"""Where people put these parts: langchain-classic's retrievers, chains, an agent's loop, the loader before a store."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from support.documents import docx, pdf
from support.embedders import WordEmbedder
from support.langchain_models import Scripted, calls
from support.library import BOOK

from turnout import Answer, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.langchain import (
    ChatTurnout,
    ForeignEmbedder,
    TurnoutEmbeddings,
    TurnoutLoader,
    TurnoutRetriever,
    TurnoutVectorStore,
    turnout_tool,
)
from turnout.retrieval import convert

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "Who repaired the lighthouse lamp?"
FERRY = "The ferry to Osterholm costs four crowns."
BOAT = "The boat to Osterholm costs five crowns."
BIRD = "A heron stood in the reeds."


@pytest.fixture
def shared():
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as turnout:
        yield turnout


# --- retrievers ------------------------------------------------------------------------------------------------------


async def test_passages_say_where_they_stand(shared: Turnout) -> None:
    retriever = TurnoutRetriever(turnout=shared, documents=[Text(BOOK, "book.md", metadata={"shelf": 3})], k=2)
    found = retriever.invoke(QUESTION)
    assert found == await retriever.ainvoke(QUESTION)
    first = found[0]
    assert "Marta Lindqvist" in first.page_content
    about = first.metadata
    assert BOOK[about["start"] : about["end"]] == first.page_content
    assert (about["title"], about["shelf"], about["line"]) == ("book.md", 3, 3)
    assert len({document.id for document in found}) == 2


class Likeness(BaseCrossEncoder):
    """Scores a passage by the cosine of its vector with the question's."""

    def __init__(self, embeddings: TurnoutEmbeddings) -> None:
        self.embeddings = embeddings

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        vectors = [self.embeddings.embed_documents(list(pair)) for pair in text_pairs]
        return [sum(a * b for a, b in zip(*pair, strict=True)) for pair in vectors]


def test_inside_a_contextual_compression_retriever(shared: Turnout) -> None:
    documents = [Text(text, f"{number}.txt") for number, text in enumerate([FERRY, BIRD, BOOK])]
    base = TurnoutRetriever(turnout=shared, documents=documents, k=8)
    near = CrossEncoderReranker(model=Likeness(TurnoutEmbeddings(shared)), top_n=1)
    retriever = ContextualCompressionRetriever(
        base_compressor=DocumentCompressorPipeline(transformers=[near]), base_retriever=base
    )
    assert len(base.invoke("What does the ferry to Osterholm cost?")) > 3
    [document] = retriever.invoke("What does the ferry to Osterholm cost?")
    assert document.page_content == FERRY
    assert (document.metadata["title"], document.metadata["start"]) == ("0.txt", 0)


async def test_inside_an_ensemble_with_another_retriever(shared: Turnout) -> None:
    ours = TurnoutRetriever(turnout=shared, documents=[Text(FERRY, "a"), Text(BIRD, "b")], k=2)
    theirs = InMemoryVectorStore.from_texts([BOAT, BIRD], TurnoutEmbeddings(shared)).as_retriever(
        search_kwargs={"k": 2}
    )
    both = EnsembleRetriever(retrievers=[ours, theirs], weights=[0.5, 0.5])
    texts = [document.page_content for document in both.invoke("What does the ferry to Osterholm cost?")]
    assert set(texts) == {FERRY, BOAT, BIRD}
    found = await both.ainvoke("A heron in the reeds?")
    assert found[0].page_content == BIRD


# --- the vector store ------------------------------------------------------------------------------------------------


def test_a_store_is_filtered_scored_and_diverse(shared: Turnout) -> None:
    store = TurnoutVectorStore(turnout=shared)
    store.add_texts([FERRY, BOAT, BIRD], [{"kind": "fare"}, {"kind": "fare"}, {"kind": "bird"}], ids=["1", "2", "3"])
    asked = "The ferry to Osterholm costs how many crowns?"
    assert [document.id for document in store.similarity_search(asked, k=3)] == ["1", "2", "3"]
    assert [document.id for document in store.similarity_search(asked, filter={"kind": "bird"})] == ["3"]
    assert store.similarity_search(asked, filter=lambda document: document.id == "2")[0].id == "2"
    scored = store.similarity_search_with_relevance_scores(asked, k=3)
    assert 1 >= scored[0][1] > scored[1][1] > scored[2][1] >= 0
    vector = TurnoutEmbeddings(shared).embed_query(asked)
    assert [document.id for document in store.similarity_search_by_vector(vector, k=1)] == ["1"]
    diverse = store.max_marginal_relevance_search(asked, k=2, lambda_mult=0.0)
    assert [document.id for document in diverse] == ["1", "3"]
    assert store.as_retriever(search_kwargs={"k": 1}).invoke(asked)[0].id == "1"


class Asymmetric(Embeddings):
    """Words count in buckets; a query is read as if it were about the heron."""

    def __init__(self) -> None:
        self.embedder = WordEmbedder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[2.0 * float(value) for value in row] for row in self.embedder.embed(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([BIRD])[0]


def test_a_query_is_embedded_as_a_query(home: Path) -> None:
    theirs = Asymmetric()
    store = TurnoutVectorStore.from_texts([FERRY, BIRD], theirs, ids=["1", "2"], home=home / "own")
    document, cosine = store.similarity_search_with_score(FERRY, k=1)[0]
    assert (document.id, cosine) == ("2", pytest.approx(1))
    for found in (
        store.similarity_search(FERRY, k=1),
        store.max_marginal_relevance_search(FERRY, k=1),
        TurnoutRetriever(turnout=store.turnout, collection=store.collection, k=1).invoke("Osterholm's heron?"),
    ):
        assert found[0].page_content == BIRD
    assert TurnoutEmbeddings(store.turnout).embed_query(FERRY) == TurnoutEmbeddings(store.turnout).embed_query(BIRD)
    store.close()


def test_diverse_texts_are_found_by_the_vectors_that_are_stored(shared: Turnout) -> None:
    store = TurnoutVectorStore(turnout=shared)
    store.add_texts([FERRY, BOAT, BIRD], ids=["1", "2", "3"])
    vector = TurnoutEmbeddings(shared).embed_query(FERRY)
    embedded = shared._embedder.embedded
    embedded.clear()
    by_text = store.max_marginal_relevance_search(FERRY, k=2, lambda_mult=0.0)
    assert embedded == [FERRY]
    by_vector = store.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.0)
    assert [document.id for document in by_text] == [document.id for document in by_vector] == ["1", "3"]
    assert embedded == [FERRY]


def test_questions_are_asked_over_a_store(shared: Turnout) -> None:
    store = TurnoutVectorStore(turnout=shared, collection="fares")
    store.add_texts([FERRY, BIRD], [{"title": "timetable"}, {"title": "diary"}])
    chat = ChatTurnout(turnout=store.turnout, collection="fares")
    message = chat.invoke("What does the ferry to Osterholm cost?")
    assert message.text == FERRY
    assert message.content_blocks[0]["annotations"][0]["title"] == "timetable"


def test_a_library_with_embeddings_of_langchain_keeps_models_apart(home: Path) -> None:
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as inner:
        theirs = TurnoutEmbeddings(inner)
        first, same = ForeignEmbedder(theirs), ForeignEmbedder(theirs)
        other = ForeignEmbedder(theirs, name="other")
        assert first.fingerprint == same.fingerprint != other.fingerprint
        store = TurnoutVectorStore.from_texts([FERRY, BIRD], theirs, ids=["1", "2"], home=home / "second")
        assert [document.id for document in store.similarity_search("a heron", k=1)] == ["2"]
        store.close()


def test_langchain_s_incremental_indexing_keeps_a_store_in_step(shared: Turnout) -> None:
    store, manager = TurnoutVectorStore(turnout=shared), InMemoryRecordManager("harbour")
    manager.create_schema()
    first = [Document(page_content=text, metadata={"source": text[:8]}) for text in (FERRY, BIRD)]
    second = [first[1], Document(page_content=BOAT, metadata={"source": BOAT[:8]})]

    def run(documents: list[Document]) -> tuple[int, int, int]:
        done = index(documents, manager, store, cleanup="full", source_id_key="source", key_encoder="sha256")
        return done["num_added"], done["num_skipped"], done["num_deleted"]

    assert run(first) == (2, 0, 0)
    assert run(first) == (0, 2, 0)
    assert run(second) == (1, 1, 1)
    assert {d.page_content for d in store.similarity_search("to Osterholm", k=5)} == {BIRD, BOAT}


# --- the loader ------------------------------------------------------------------------------------------------------


def test_the_loader_reads_every_kind_lazily_and_by_page(shared: Turnout, tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(pdf("The first page.", "", "The third page."))
    (tmp_path / "note.md").write_text("# Note\n\nA note.", encoding="utf-8")
    whole = {d.metadata["title"]: d for d in TurnoutLoader(str(tmp_path), turnout=shared).load()}
    assert set(whole) == {"two.pdf", "note.md"}
    assert whole["two.pdf"].metadata["pages"] == 3
    assert "page" not in whole["two.pdf"].metadata
    pages = TurnoutLoader(tmp_path / "two.pdf", by_page=True, turnout=shared).load()
    assert [(page.metadata["page"], page.page_content.strip()) for page in pages] == [
        (1, "The first page."),
        (3, "The third page."),
    ]
    for page in pages:
        start, end = page.metadata["start"], page.metadata["end"]
        assert whole["two.pdf"].page_content[start:end] == page.page_content
    assert shared.documents() == []


def test_what_was_loaded_is_asked_and_cited(shared: Turnout, tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(pdf("A heron stood in the reeds.", "The ferry costs four crowns."))
    pages = TurnoutLoader(tmp_path / "two.pdf", by_page=True, turnout=shared).load()
    store = TurnoutVectorStore(turnout=shared)
    store.add_documents(pages)
    assert store.similarity_search("What does the ferry cost?", k=1)[0].metadata["page"] == 2


# --- chains ----------------------------------------------------------------------------------------------------------

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer in {language}."), MessagesPlaceholder("history"), ("human", "{question}")]
)


async def test_a_chain_with_structured_input(shared: Turnout) -> None:
    chain = PROMPT | ChatTurnout(turnout=shared).bind_documents(Text(BOOK, "book.md")) | StrOutputParser()
    given = {
        "language": "English",
        "history": [("human", "What does the ferry to Osterholm cost?"), ("ai", "Four crowns.")],
        "question": QUESTION,
    }
    answer = chain.invoke(given)
    assert "Marta Lindqvist" in answer
    assert "".join(chain.stream(given)) == answer == await chain.ainvoke(given)
    assert "".join([part async for part in chain.astream(given)]) == answer
    assert chain.batch([given] * 3) == [answer] * 3
    context = shared._engine.contexts[-1]
    assert context.question == QUESTION
    assert [turn.role for turn in context.history] == ["system", "user", "assistant"]


def test_a_chain_whose_documents_come_with_the_input(shared: Turnout) -> None:
    chat = ChatTurnout(turnout=shared)
    by_call = RunnableLambda(lambda given: PROMPT | chat.bind_documents(given["documents"])) | StrOutputParser()
    retrieved = RunnablePassthrough.assign(
        documents=lambda given: TurnoutRetriever(turnout=shared, documents=[Text(BOOK)], k=1).invoke(given["question"])
    )
    given = {"language": "English", "history": [], "question": QUESTION}
    assert "Marta Lindqvist" in (retrieved | by_call).invoke(given)
    assert by_call.invoke(given | {"documents": [Text("Per repaired the lamp.")]}) == "Per repaired the lamp."


# --- agents ----------------------------------------------------------------------------------------------------------


def report(messages: list[BaseMessage]) -> AIMessage:
    return AIMessage(" / ".join(message.text for message in messages if isinstance(message, ToolMessage)))


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_an_agent_s_loop_asks_two_documents(shared: Turnout, mode: str) -> None:
    asks = turnout_tool([Text(FERRY, "ferry.txt"), Text(BOOK, "book.md")], about="the harbour", turnout=shared)
    script = Scripted(
        steps=[
            calls(asks.name, question="What does the ferry to Osterholm cost?", document="ferry.txt"),
            calls(asks.name, question=QUESTION, document="lamp.txt"),
            calls(asks.name, question=QUESTION),
            calls(asks.name, question="Guarantor?"),
            report,
        ]
    )
    agent = create_agent(script, [asks])
    given = {"messages": [("user", "What does the ferry cost, and who repaired the lamp?")]}
    state = await agent.ainvoke(given) if mode == "async" else agent.invoke(given)
    fare, wrong, lamp, nobody = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert fare.content == f'{FERRY}\n[1] ferry.txt l.1: "{FERRY}"'
    assert (wrong.status, "ferry.txt, book.md" in wrong.content) == ("error", True)
    assert "Marta Lindqvist" in lamp.content
    assert "book.md l.3" in lamp.content
    assert isinstance(lamp.artifact, Answer)
    assert lamp.artifact.citations[0].found == "exact"
    assert nobody.content.startswith("The documents do not say.")
    assert state["messages"][-1].text.startswith(FERRY)
    given_tool = script.tools[0]
    assert given_tool.name == "ask_documents"
    assert "the harbour" in given_tool.description
    assert "ferry.txt, book.md" in given_tool.description
    schema = given_tool.tool_call_schema.model_json_schema()
    assert schema["required"] == ["question"]
    assert all(field["description"] for field in schema["properties"].values())


def test_a_tool_over_one_of_its_documents_converts_nothing_twice(
    shared: Turnout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "ferry.txt", tmp_path / "book.md"]
    for path, text in zip(paths, (FERRY, BOOK), strict=True):
        path.write_text(text, encoding="utf-8")
    converted: list[str] = []
    plain = convert.convert_file
    monkeypatch.setattr(convert, "convert_file", lambda path, **o: converted.append(path.name) or plain(path, **o))
    asks = turnout_tool(paths, turnout=shared)
    for document in ("book.md", "book.md", "", " ", None, "ferry.txt", str(paths[1])):
        given = {"question": QUESTION} | ({} if document is None else {"document": document})
        said = asks.invoke(given)
        assert ("Marta Lindqvist" in said) == (document != "ferry.txt"), document
    assert sorted(converted) == ["book.md", "ferry.txt"]


def test_documents_of_the_same_title_are_told_apart_by_their_sources(shared: Turnout, tmp_path: Path) -> None:
    paths = [tmp_path / "old" / "book.md", tmp_path / "new" / "book.md"]
    for path, text in zip(paths, (FERRY, BOOK), strict=True):
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    asks = turnout_tool(paths, turnout=shared)
    assert all(str(path) in asks.description for path in paths)
    said = asks.invoke({"question": QUESTION, "document": "book.md"})
    assert "the title of 2 documents" in said
    assert all(str(path) in said for path in paths)
    assert "Marta Lindqvist" in asks.invoke({"question": QUESTION, "document": str(paths[1])})


def test_a_tool_frees_what_it_opened_and_leaves_what_it_was_given(shared: Turnout) -> None:
    own = turnout_tool(Text(BOOK), engine=FakeEngine())
    own.invoke({"question": QUESTION})
    turnout = own._opened.turnout()
    assert turnout._parts is not None
    own.close()
    assert turnout._parts is None
    given = turnout_tool(Text(BOOK), turnout=shared)
    given.close()
    assert shared._parts is not None


def test_a_chat_model_as_an_agent_s_model_answers_where_there_are_no_tools(shared: Turnout) -> None:
    agent = create_agent(ChatTurnout(turnout=shared, documents=[Text(BOOK)]), [], system_prompt="Be brief.")
    state = agent.invoke({"messages": [("user", QUESTION)]})
    assert "Marta Lindqvist" in state["messages"][-1].text


def test_the_example_agent_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "ferry.txt", tmp_path / "book.md"
    first.write_text(FERRY, encoding="utf-8")
    second.write_text(BOOK, encoding="utf-8")
    script = Scripted(
        steps=[
            calls("ask_documents", question="What does the ferry to Osterholm cost?", document="ferry.txt"),
            calls("ask_documents", question=QUESTION, document="book.md"),
            report,
        ]
    )
    source = EXAMPLES / "agent.py"
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 35
    answer = runpy.run_path(str(source))["main"](
        script, str(first), str(second), "The fare, and who repaired the lamp?", engine=FakeEngine()
    )
    assert FERRY in answer
    assert "Marta Lindqvist" in answer
    assert "book.md l.3" in capsys.readouterr().out


def test_what_the_page_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (EXAMPLES.parent / "docs/langchain.md").read_text(encoding="utf-8")
    shown = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "msa.pdf").write_bytes(pdf("Title.", "Confidentiality lasts three years after termination."))
    (tmp_path / "annex.docx").write_bytes(docx(["An annex without any rules."]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_MODEL", "fake")
    (tmp_path / "shown.py").write_text(shown, encoding="utf-8")
    runpy.run_path("shown.py")
    assert capsys.readouterr().out.splitlines() == [
        "Confidentiality lasts three years after termination. full",
        "msa.pdf Confidentiality lasts three years after termination. 2",
    ]

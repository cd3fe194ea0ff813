"""TurnoutCompressor: LangChain's contract for compressors, alone and inside langchain-classic's retrievers."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError
from support.able import AbleEngine
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.langchain import RequestError, TurnoutCompressor, TurnoutEmbeddings, TurnoutRetriever

QUESTION = "Who repaired the lighthouse lamp?"
LAMP = "Coal came by cart. Marta Lindqvist repaired the lighthouse lamp. A dog slept there. The lamp is of brass."
FERRY = "The ferry to Osterholm costs four crowns."


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Turnout]:
    with Turnout(engine=AbleEngine(), embedder=WordEmbedder(dimension=4096), home=tmp_path / "home") as turnout:
        yield turnout


def documents() -> list[Document]:
    return [
        Document(FERRY, id="ferry", metadata={"source": "ferry.txt"}),
        Document(LAMP, id="lamp", metadata={"source": "lamp.txt", "page": 3, "score": 0.5}),
    ]


async def test_sentences_are_kept_with_id_and_metadata_and_the_given_is_not_changed(shared: Turnout) -> None:
    given = documents()
    before = copy.deepcopy(given)
    compressor = TurnoutCompressor(turnout=shared)
    (kept,) = compressor.compress_documents(given, QUESTION)
    assert given == before
    assert (kept.id, kept.metadata["page"], kept.metadata["source"]) == ("lamp", 3, "lamp.txt")
    spans = kept.metadata["spans"]
    assert kept.page_content == "\n\n".join(LAMP[start:end] for start, end in spans)
    assert "Marta Lindqvist repaired the lighthouse lamp." in kept.page_content
    assert "Coal" not in kept.page_content
    assert await compressor.acompress_documents(given, QUESTION) == [kept]
    assert compressor.compress_documents([], QUESTION) == []


async def test_inside_a_contextual_compression_retriever(shared: Turnout) -> None:
    base = TurnoutRetriever(turnout=shared, documents=[Text(BOOK, "book.md", metadata={"shelf": 3})], k=4)
    retriever = ContextualCompressionRetriever(
        base_compressor=TurnoutCompressor(turnout=shared, threshold=0.3), base_retriever=base
    )
    found = retriever.invoke(QUESTION)
    assert found == await retriever.ainvoke(QUESTION)
    assert 0 < len(found) < 4
    assert sum(len(each.page_content) for each in found) < sum(len(each.page_content) for each in base.invoke(QUESTION))
    (best,) = (each for each in found if "Marta Lindqvist" in each.page_content)
    about = best.metadata
    assert (about["shelf"], about["title"]) == (3, "book.md")
    # A passage of ours says where it stands, so that spans lead to the source.
    pieces = [BOOK[about["start"] + first : about["start"] + last] for first, last in about["spans"]]
    assert "\n\n".join(pieces) == best.page_content
    assert retriever.invoke("zebra quagga okapi?") == []


async def test_in_a_pipeline_over_another_store(shared: Turnout) -> None:
    store = InMemoryVectorStore.from_texts([LAMP, FERRY], TurnoutEmbeddings(shared), metadatas=[{"n": 1}, {"n": 2}])
    retriever = ContextualCompressionRetriever(
        base_compressor=DocumentCompressorPipeline(
            transformers=[TurnoutCompressor(turnout=shared), TurnoutCompressor(turnout=shared, max_tokens=12)]
        ),
        base_retriever=store.as_retriever(search_kwargs={"k": 2}),
    )
    (found,) = await retriever.ainvoke(QUESTION)
    assert found.page_content == "Marta Lindqvist repaired the lighthouse lamp."
    assert found.metadata["n"] == 1


def test_by_the_model_and_for_code(shared: Turnout) -> None:
    (kept,) = TurnoutCompressor(turnout=shared, strategy="extract:exit").compress_documents(documents(), QUESTION)
    assert kept.id == "lamp"
    code = (
        "def mend(lamp):\n    return lamp  # the lighthouse lamp is repaired\n\n\n"
        + "def f(x):\n    return x\n\n\n" * 30
    )
    given = [Document(code, metadata={"source": "src/lamp.py"})]
    (kept,) = TurnoutCompressor(turnout=shared, strategy="extract:code", max_tokens=60).compress_documents(
        given, QUESTION
    )
    assert "def mend(lamp)" in kept.page_content
    assert len(kept.page_content) < len(code)


def test_one_of_its_own_opens_at_first_use_and_is_closed(tmp_path: Path) -> None:
    compressor = TurnoutCompressor(home=tmp_path / "mine")
    assert isinstance(compressor, BaseDocumentCompressor)
    assert not (tmp_path / "mine").exists()
    assert compressor.compress_documents([Document(LAMP)], QUESTION)[0].page_content.startswith("Marta")
    compressor.close()


def test_what_can_not_be_meant_is_refused(shared: Turnout) -> None:
    with pytest.raises(ValidationError, match="did you mean 'threshold'"):
        TurnoutCompressor(turnout=shared, treshold=0.3)
    with pytest.raises(ValidationError, match="home can't be changed"):
        TurnoutCompressor(turnout=shared, home="elsewhere")
    for options, said in (
        ({"threshold": 3.0}, "threshold is 3.0"),
        ({"max_tokens": -5}, "max_tokens is -5"),
        ({"strategy": "abridge"}, "abridge"),
        ({"strategy": "extract:code", "threshold": 0.2}, "would change nothing"),
    ):
        with pytest.raises(RequestError, match=said):
            TurnoutCompressor(turnout=shared, **options).compress_documents(documents(), QUESTION)
    with pytest.raises(RequestError, match="the question is empty"):
        TurnoutCompressor(turnout=shared).compress_documents(documents(), "")

"""What every retriever does with questions and documents that are hardly any: word for word, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import tiny_models
from support.able import AbleEngine
from support.bands import Fixed
from support.embedders import WordEmbedder
from support.library import BOOK, library_corpus

from turnout import Text, Turnout
from turnout.config import Settings
from turnout.contracts import Retriever
from turnout.database import Database
from turnout.documents import Document
from turnout.engines.local import LocalEngine
from turnout.errors import BudgetError, ConfigurationError, EngineError, ModelError, TurnoutError
from turnout.retrieval.attention import AttentionRetriever
from turnout.retrieval.chunkfree import ChunkFreeRetriever
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.ldar import LdarRetriever
from turnout.retrieval.library import Library

QUESTION = "where does the ferry leave from?"
NEEDLE = "The ferry leaves from the third pier at noon. "
RETRIEVERS: dict[str, Callable[[WordEmbedder], Retriever]] = {
    "hybrid": HybridRetriever,
    "ldar": lambda embedder: LdarRetriever(embedder, Fixed(0, 4)),
    "attention": lambda _: AttentionRetriever(AbleEngine()),
    "chunkfree": lambda _: ChunkFreeRetriever(AbleEngine()),
}
TEXTS = {
    "one sentence": NEEDLE,
    "one word": "ferry",
    "no sentence ends": "the ferry and the pier and the noon " * 300,
    "one giant word": "ferry " + "x" * 20_000,
    "all alike": NEEDLE * 400,
    "right to left": "العبّارة ferry تغادر من الرصيف الثالث. المنارة على الجزيرة. " * 60,
    "no spaces": "ferry は三番桟橋から正午に出る。灯台は島に立つ。" * 60,
    "odd characters": "\ud7ff\u202e 🏮 ferry e\u0301.\u2028\x0b Yes. Yes. \x00 No.",
}


@pytest.fixture(params=RETRIEVERS)
def retriever(request: pytest.FixtureRequest) -> Retriever:
    return RETRIEVERS[request.param](WordEmbedder())


@pytest.mark.parametrize("text", TEXTS)
def test_any_document_is_found_in_word_for_word(retriever: Retriever, tmp_path: Path, text: str) -> None:
    corpus = library_corpus(tmp_path, WordEmbedder(), TEXTS[text])
    retriever.warm(corpus)
    found = retriever.retrieve(QUESTION, corpus, 5)
    assert 1 <= len(found) <= 5
    for passage in found:
        assert passage.text == corpus.text(passage.span) and passage.text.strip()
    assert retriever.retrieve(QUESTION, corpus, 5) == found


def test_over_no_documents_nothing_is_found(retriever: Retriever) -> None:
    assert retriever.retrieve(QUESTION, Corpus([], []), 5) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_document_of_five_million_characters(name: str, tmp_path: Path) -> None:
    filler = "".join(f"On day {number} the harbour office was quiet and wet. " for number in range(2000))
    times = 5_000_000 // len(filler) + 1
    text = filler * (times // 2) + NEEDLE + filler * (times - times // 2)
    assert len(text) > 5_000_000
    embedder = WordEmbedder()
    corpus, retriever = library_corpus(tmp_path, embedder, text), RETRIEVERS[name](embedder)
    retriever.warm(corpus)
    found = retriever.retrieve(QUESTION, corpus, 5)
    assert found and all(passage.text == corpus.text(passage.span) for passage in found)
    if name != "ldar":  # this embedder does not tell one sentence from thousands
        assert NEEDLE.strip() in "".join(passage.text for passage in found)


@pytest.mark.parametrize("name", ["ldar", "attention", "chunkfree"])
@pytest.mark.parametrize("question", ["", " \n\t"])
def test_an_empty_question_is_refused(tmp_path: Path, name: str, question: str) -> None:
    corpus = library_corpus(tmp_path, WordEmbedder(), NEEDLE)
    with pytest.raises(ConfigurationError, match="question is empty"):
        RETRIEVERS[name](WordEmbedder()).retrieve(question, corpus, 5)
    with Turnout(engine=AbleEngine(), embedder=WordEmbedder()) as t:
        for strategy in ("rag", "rag:attention", "rag:chunkfree", "rag:iterative", "rag:facts"):
            with pytest.raises(ConfigurationError, match="question is empty"):
                t.ask(question, Text(NEEDLE), strategy=strategy)


@pytest.mark.parametrize("name", ["hybrid", "ldar"])
def test_a_question_longer_than_any_window_is_searched_for(tmp_path: Path, name: str) -> None:
    corpus = library_corpus(tmp_path, WordEmbedder(), BOOK + NEEDLE)
    found = RETRIEVERS[name](WordEmbedder()).retrieve("which ferry leaves the pier at noon? " * 3000, corpus, 2)
    assert found and all(passage.text == corpus.text(passage.span) for passage in found)


def test_a_question_longer_than_the_readers_window_is_refused(tmp_path: Path) -> None:
    engine = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu", dtype="float32")
    corpus = Corpus([Document("d", "d", NEEDLE, "d.txt", "text")], [])
    for reader in (AttentionRetriever(engine), ChunkFreeRetriever(engine)):
        with pytest.raises(EngineError, match=r"window of 512"):
            reader.retrieve("where is the light? " * 400, corpus, 5)
    with Turnout(engine=AbleEngine(), embedder=WordEmbedder()) as t:
        for strategy in ("rag", "rag:attention", "rag:chunkfree", "rag:iterative", "rag:facts"):
            with pytest.raises((BudgetError, EngineError)) as refused:
                t.ask("which pier? " * 3000, Text(BOOK), strategy=strategy)
            assert isinstance(refused.value, TurnoutError) and refused.value.hint


class NoNumbers(WordEmbedder):
    """Gives NaN for texts that hold a word."""

    def embed(self, texts, progress=None):  # type: ignore[no-untyped-def]
        vectors = super().embed(texts, progress)
        for row, text in enumerate(texts):
            if "poison" in text:
                vectors[row, 0] = np.nan
        return vectors


@pytest.mark.parametrize("name", ["hybrid", "ldar"])
def test_an_embedder_that_gives_no_numbers_is_named_and_nothing_is_kept(tmp_path: Path, name: str) -> None:
    embedder = NoNumbers()
    with pytest.raises(ModelError, match="not numbers for 1 of"):
        library_corpus(tmp_path / "documents", embedder, BOOK, f"{NEEDLE} poison")
    library = Library(Database.at(Settings.load(home=tmp_path / "documents")), tmp_path / "documents", embedder)
    assert [entry.title for entry in library.list()] == ["0.txt"]
    corpus = library_corpus(tmp_path / "question", embedder, BOOK)
    with pytest.raises(ModelError, match="not numbers for 1 of 1"):
        RETRIEVERS[name](embedder).retrieve("poison?", corpus, 5)


@pytest.mark.parametrize("name", ["hybrid", "ldar"])
def test_an_index_of_another_model_is_refused_with_both_names(tmp_path: Path, name: str) -> None:
    class Named(WordEmbedder):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.name = name

    corpus = library_corpus(tmp_path, Named("minilm"), BOOK)
    with pytest.raises(ConfigurationError, match="indexed with the embedder minilm, and the question is read by gte"):
        RETRIEVERS[name](Named("gte")).retrieve(QUESTION, corpus, 5)

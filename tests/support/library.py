"""Small documents and a library over them, for tests that need real segments and no model."""

from __future__ import annotations

from pathlib import Path

from turnout.config import Settings
from turnout.contracts import Embedder
from turnout.database import Database
from turnout.documents import Document, Text
from turnout.retrieval.convert import convert_text
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.library import Library

_FILLER = (
    "The harbour office keeps a record of every ship. Its clerk writes the names in blue ink. "
    "Rain fell on the slate roofs for most of the week. The market opened late because of the wind. "
    "Two carts of coal arrived from the inland road. A dog slept under the customs table. "
)
BOOK = (
    "# The harbour\n\n"
    + _FILLER * 6
    + "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal. "
    + _FILLER * 6
    + "The ferry to Osterholm costs four crowns on Sundays. "
    + _FILLER * 6
)


def document(text: str, title: str = "book.txt") -> Document:
    return convert_text(Text(text, title))


def corpus_of(home: Path, *texts: str) -> Corpus:
    """A corpus of texts in a library without an embedder."""
    return library_corpus(home, None, *texts)


def library_corpus(home: Path, embedder: Embedder | None, *texts: str) -> Corpus:
    """A corpus of texts in a library."""
    library = Library(Database.at(Settings.load(home=home)), home, embedder)
    documents = [document(text, f"{i}.txt") for i, text in enumerate(texts)]
    for each in documents:
        library.add(each)
    return library.corpus(documents)

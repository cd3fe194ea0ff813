"""The FAISS file follows the table, survives damage, and gives the same figures as a plain product."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import sqlalchemy as sa
from support.add_files import documents, numbered
from support.embedders import WordEmbedder

from turnout.database import Database
from turnout.errors import MissingExtraError, StoreError
from turnout.retrieval import vector_store
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.index import VectorIndex
from turnout.retrieval.library import Library
from turnout.retrieval.vectors import unpack


@pytest.fixture
def library(database: Database, home: Path, embedder: WordEmbedder) -> Library:
    library = Library(database, home, embedder)
    library.add_many(documents(12))
    return library


@pytest.fixture
def index(library: Library, database: Database, home: Path, embedder: WordEmbedder) -> VectorIndex:
    return VectorIndex(database, home, embedder.fingerprint, embedder.dimension)


def table(database: Database, dimension: int = 64) -> tuple[np.ndarray, np.ndarray]:
    with database.read() as connection:
        rows = connection.execute(sa.text("SELECT id, vector FROM vectors ORDER BY id")).all()
    return np.array([row.id for row in rows], np.int64), unpack([row.vector for row in rows], dimension)


def ids_in(path: Path) -> list[int]:
    index = faiss.read_index(str(path))  # must outlive its id map
    return sorted(faiss.vector_to_array(index.id_map).tolist())


def test_adding_and_removing_keep_the_file_in_step(index: VectorIndex, library: Library, database: Database) -> None:
    assert ids_in(index.path) == table(database)[0].tolist()
    library.remove([numbered(3).id])
    assert ids_in(index.path) == table(database)[0].tolist()
    library.add(numbered(50))
    assert ids_in(index.path) == table(database)[0].tolist()
    assert index.path.stat().st_mode & 0o777 == 0o600


def test_a_file_in_step_is_read_and_left_as_it_is(
    index: VectorIndex, database: Database, home: Path, embedder: WordEmbedder
) -> None:
    before = index.path.stat()
    other = VectorIndex(database, home, embedder.fingerprint, embedder.dimension).sync()
    assert other.this.own(), "a borrowed index dies with the one that was read"
    _ = [np.ones(size, np.int64) for size in range(1, 400)]  # would land where a freed index was
    ids, vectors = table(database)
    assert faiss.vector_to_array(other.id_map).tolist() == ids.tolist()
    assert np.allclose(other.index.reconstruct_n(0, ids.size), vectors)
    after = index.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_cosines_equal_the_plain_product(index: VectorIndex, database: Database, embedder: WordEmbedder) -> None:
    ids, vectors = table(database)
    query = embedder.embed(["the harbour lamp"])[0]
    some = np.array([5, 2, 9, 2, 30]) - 1
    assert np.allclose(index.cosines(query, ids[some]), vectors[some] @ query, atol=1e-6)


def test_a_file_that_is_behind_catches_up(index: VectorIndex, database: Database, home: Path) -> None:
    index.sync()
    Library(Database(home / "turnout.db"), home, WordEmbedder()).add(numbered(60), collection=None)
    _ = Library(database, home, WordEmbedder()).corpus([numbered(60)]).vectors  # stored without a sync
    ids, vectors = table(database)
    assert len(ids_in(index.path)) < len(ids)
    assert np.allclose(index.cosines(vectors[-1], ids), vectors @ vectors[-1], atol=1e-6)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "gone", "other dimension", "doubled ids"])
def test_a_damaged_file_is_made_anew(index: VectorIndex, database: Database, damage: str) -> None:
    data = index.path.read_bytes()
    match damage:
        case "truncated":
            index.path.write_bytes(data[: len(data) // 2])
        case "garbage":
            index.path.write_bytes(os.urandom(len(data)))
        case "empty":
            index.path.write_bytes(b"")
        case "gone":
            index.path.unlink()
        case "other dimension":
            faiss.write_index(faiss.IndexIDMap2(faiss.IndexFlatIP(8)), str(index.path))
        case "doubled ids":
            other = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
            other.add_with_ids(np.zeros((2, 64), np.float32), np.array([1, 1]))
            faiss.write_index(other, str(index.path))
    ids, vectors = table(database)
    assert np.allclose(index.cosines(vectors[0], ids), vectors @ vectors[0], atol=1e-6)
    assert ids_in(index.path) == ids.tolist()


def test_a_removed_vector_is_an_error_that_can_be_retried(index: VectorIndex, database: Database) -> None:
    with pytest.raises(StoreError, match="removed while it was searched") as error:
        index.cosines(np.ones(64, np.float32), np.array([10_000]))
    assert error.value.retryable


def test_a_file_that_cannot_be_written_is_an_error(index: VectorIndex, library: Library) -> None:
    index.path.unlink()
    index.path.mkdir()
    with pytest.raises(StoreError, match="can't be written"):
        index.sync()


def test_without_faiss_the_index_names_the_extra(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="faiss"):
        index.sync()


def test_searching_through_the_file_and_without_it_give_the_same(
    library: Library, monkeypatch: pytest.MonkeyPatch, embedder: WordEmbedder
) -> None:
    retriever, question = HybridRetriever(embedder), "who repaired the railway signal lamp"
    plain = retriever.search(question, library.corpus(library.documents()), 10)
    monkeypatch.setattr(vector_store, "INDEX_FROM", 1)
    by_file = retriever.search(question, library.corpus(library.documents()), 10)
    assert by_file.cosines is not None and plain.cosines is not None
    assert np.allclose(by_file.cosines, plain.cosines, atol=1e-6)
    assert [p.span for p in by_file.passages] == [p.span for p in plain.passages]


def test_removing_the_last_document_removes_the_file(index: VectorIndex, library: Library) -> None:
    library.remove([entry.document_id for entry in library.list()])
    assert not index.path.exists()

"""The library: idempotent, incremental, whole documents only, and removal leaves nothing behind."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from support.embedders import WordEmbedder

from turnout.database import Database
from turnout.documents import Document
from turnout.errors import ConfigurationError, ModelError, StoreError, UnknownNameError
from turnout.retrieval.library import Library, Pending

NAMES = "Osterholm Marta Lindqvist harbour lamp railway signal ferry crown clerk ink coal cart slate market".split()


def prose(seed: int, sentences: int = 120) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(NAMES, k=12)).capitalize() + f" {rng.random():.6f}. " for _ in range(sentences)]


def document(text: str, source: str = "/d/a.txt") -> Document:
    return Document(hashlib.sha256(text.encode()).hexdigest(), Path(source).name, text, source, "text")


@pytest.fixture
def library(database: Database, home: Path, embedder: WordEmbedder) -> Library:
    return Library(database, home, embedder)


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def count(database: Database, table: str) -> int:
    return len(rows(database, f"SELECT 1 FROM {table}"))


def assert_whole(database: Database) -> None:
    """Every document has all its segments, every segment its vector, and nothing is left over."""
    for id_, text in rows(database, "SELECT id, text FROM documents"):
        spans = rows(database, f"SELECT start, \"end\" FROM segments WHERE document_id = '{id_}' ORDER BY ordinal")
        assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), len(str(text))]
    segments = {row[0] for row in rows(database, "SELECT hash FROM segments")}
    vectors = [row[0] for row in rows(database, "SELECT hash FROM vectors")]
    assert sorted(vectors) == sorted(segments)


def test_adding_is_idempotent(library: Library, database: Database, embedder: WordEmbedder) -> None:
    text = "".join(prose(1))
    first = library.add(document(text))
    assert (first.status, first.reused) == ("added", 0) and first.new == count(database, "segments") > 3
    made = len(embedder.embedded)
    again = library.add(document(text))
    assert (again.status, again.new, again.reused) == ("unchanged", 0, first.new)
    assert len(embedder.embedded) == made == first.new
    assert len(library.list()) == 1
    assert_whole(database)


def test_equal_content_under_two_names_is_one_document(library: Library, database: Database) -> None:
    text = "".join(prose(1))
    library.add(document(text, "/d/a.txt"))
    assert library.add(document(text, "/d/b.txt")).status == "unchanged"
    assert count(database, "documents") == 1
    assert count(database, "sources") == 2


def test_an_update_replaces_only_changed_segments(library: Library, database: Database, embedder: WordEmbedder) -> None:
    parts = prose(1, 400)
    library.add(document("".join(parts)))
    before = dict(rows(database, "SELECT hash, id FROM vectors"))
    embedder.embedded.clear()
    updated = library.add(document("".join([*parts[:200], "A clause was put in. ", *parts[200:]])))
    assert updated.status == "updated"
    assert 1 <= updated.new == len(embedder.embedded) <= 4
    after = dict(rows(database, "SELECT hash, id FROM vectors"))
    kept = before.keys() & after.keys()
    assert len(kept) == updated.reused and all(before[hash_] == after[hash_] for hash_ in kept)
    assert not {id_ for hash_, id_ in after.items() if hash_ not in kept} & set(before.values())
    assert count(database, "documents") == 1
    assert_whole(database)


def test_an_old_version_stays_while_another_source_or_collection_holds_it(library: Library, database: Database) -> None:
    old, new, newer = ("".join(prose(seed)) for seed in (1, 2, 3))
    library.add(document(old, "/d/a.txt"))
    library.add(document(old, "/d/copy.txt"))
    library.add(document(new, "/d/a.txt"))
    assert {entry.source for entry in library.list()} == {"/d/a.txt", "/d/copy.txt"}
    library.add(document(new, "/d/a.txt"), collection="other")
    library.add(document(newer, "/d/a.txt"))
    assert [held.text for held in library.documents("other")] == [document(new).text]
    assert count(database, "documents") == 3


def test_texts_without_a_source_never_replace_each_other(library: Library) -> None:
    for source in ("", "-"):
        library.add(document("".join(prose(1)) + source, source))
        assert library.add(document("".join(prose(2)) + source, source)).status == "added"
    assert len(library.list()) == 4


def test_an_unchanged_file_is_known(library: Library) -> None:
    doc = document("".join(prose(1)), "/d/a.txt")
    assert library.known("f1", "txt/1") is None
    library.add(doc, file_hash="f1", converter="txt/1")
    assert library.known("f1", "txt/1") == doc
    assert library.known("f1", "txt/2") is None
    assert library.known("f2", "txt/1") is None
    moved = library.known("f1", "txt/1", source="/e/b.txt")
    assert moved is not None and (moved.id, moved.title, moved.source) == (doc.id, "b.txt", "/e/b.txt")


def test_listing_measures_the_text(library: Library) -> None:
    text = "".join(prose(1)) + "日本語\U0001f600"
    doc = Document("a" * 64, "t.pdf", text, "/d/t.pdf", "pdf", (0, 10, 20))
    library.add(doc)
    (entry,) = library.list()
    assert (entry.chars, entry.pages, entry.title, entry.kind) == (len(text), 3, "t.pdf", "pdf")
    assert entry.segments == len(library.segments(doc.id))
    assert library.get(doc.id) == doc
    assert library.documents() == (doc,)
    assert library.list("none such") == [] and library.documents("none such") == ()


def test_documents_are_found_by_id_prefix_path_and_title(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = document("".join(prose(1)), str(tmp_path / "a.txt"))
    second = document("".join(prose(2)), str(tmp_path / "sub" / "a.txt"))
    library.add_many([Pending(first), Pending(second)])
    monkeypatch.chdir(tmp_path)
    for name in (first.id, first.id[:8], first.source, str(tmp_path / "a.txt")):
        assert library.get(name) == first
    assert library.get("sub/a.txt") == second
    with pytest.raises(UnknownNameError, match=r"did you mean 'a\.txt'"):
        library.get("b.txt")
    library.remove([second.id])
    assert library.get("a.txt") == first


def test_an_ambiguous_name_lists_ids(library: Library) -> None:
    ids = [library.add(document("".join(prose(seed)), f"/{seed}/same.txt")).document.id for seed in (1, 2)]
    with pytest.raises(ConfigurationError, match="2 documents") as error:
        library.get("same.txt")
    assert all(id_[:12] in error.value.hint for id_ in ids)


def test_removal_leaves_nothing_in_the_files(library: Library, database: Database, home: Path) -> None:
    marker = "Zanzibarquux"
    shared = prose(1, 200)
    kept = library.add(document("".join(shared), "/d/kept.txt")).document
    gone = library.add(document("".join([*shared, *prose(2), f"The {marker} clause holds. "]), "/d/gone.txt")).document
    library.set_token_count(gone.id, "m", 77)
    with database.write() as connection:
        for answer, about in (("a1", gone.id), ("a2", kept.id)):
            connection.execute(
                sa.text("INSERT INTO answers VALUES (:id, 0, 'm', 'rag', :text, '{}', :text, '')"),
                {"id": answer, "text": f"{marker} asked of {answer}" if about == gone.id else "fine"},
            )
            connection.execute(sa.text("INSERT INTO answer_documents VALUES (:a, :d, '')"), {"a": answer, "d": about})
    assert marker.encode() in b"".join(file.read_bytes() for file in home.iterdir() if file.is_file())

    assert library.remove([gone.id]).documents == (gone.id,)

    assert [entry.document_id for entry in library.list()] == [kept.id]
    assert library.token_count(gone.id, "m") is None
    assert rows(database, "SELECT id, question, content FROM answers ORDER BY id") == [
        ("a1", None, None),
        ("a2", "fine", "fine"),
    ]
    assert_whole(database)
    for file in home.rglob("*"):
        assert not file.is_file() or marker.encode() not in file.read_bytes(), file.name
    assert library.remove([gone.id]).documents == ()


def test_removal_takes_cached_earlier_versions_of_the_source_along(library: Library, database: Database) -> None:
    library.add(document("".join(prose(1))), collection=None)
    added = library.add(document("".join(prose(2))))
    library.add(document("".join(prose(3))), collection=None)
    library.remove([added.document.id])
    assert count(database, "documents") == 0 and count(database, "vectors") == 0


def test_the_cache_is_bounded_and_leaves_added_documents_alone(
    database: Database, home: Path, embedder: WordEmbedder
) -> None:
    library = Library(database, home, embedder, cached=3)
    added = library.add(document("".join(prose(0)), "/d/0.txt")).document
    asked = [document("".join(prose(seed)), f"/d/{seed}.txt") for seed in range(1, 7)]
    for doc in asked[:3]:
        library.add(doc, collection=None)
    library.corpus([asked[0]])  # just used
    library.add(asked[3], collection=None)
    stored = {row[0] for row in rows(database, "SELECT id FROM documents")}
    assert stored == {added.id, asked[0].id, asked[2].id, asked[3].id}
    assert [entry.document_id for entry in library.list()] == [added.id]
    # One question over more than the cache holds still has all its documents.
    assert len(library.corpus(asked).documents) == 6
    assert {row[0] for row in rows(database, "SELECT id FROM documents")} >= {doc.id for doc in asked}


def test_the_cache_is_embedded_only_when_searched(library: Library, embedder: WordEmbedder, database: Database) -> None:
    doc = document("".join(prose(1)))
    library.add(doc, collection=None)
    calls: list[tuple[int, int]] = []
    corpus = library.corpus([doc, doc], progress=lambda done, total: calls.append((done, total)))
    assert len(corpus.documents) == 1 and not embedder.embedded
    assert corpus.vectors is not None and corpus.vectors.shape == (len(corpus.segments), embedder.dimension)
    assert calls[-1] == (len(corpus.segments), len(corpus.segments))
    assert_whole(database)


def test_vectors_missing_for_a_new_embedder_are_made_on_demand(database: Database, home: Path) -> None:
    doc = Library(database, home, None).add(document("".join(prose(1)))).document
    assert count(database, "vectors") == 0
    for embedder in (WordEmbedder("one"), WordEmbedder("two")):
        vectors = Library(database, home, embedder).corpus([doc]).vectors
        texts = [doc.text[s.span.start : s.span.end] for s in Library(database, home, None).segments(doc.id)]
        assert vectors is not None and np.allclose(vectors, embedder.embed(texts))
    assert count(database, "vectors") == 2 * count(database, "segments")


def test_a_corpus_of_documents_never_added(library: Library) -> None:
    docs = [document("".join(prose(seed)), f"/d/{seed}.txt") for seed in (3, 1, 2)]
    corpus = library.corpus(docs)
    assert corpus.documents == tuple(docs)
    assert "".join(corpus.text(s.span) for s in corpus.segments) == "".join(doc.text for doc in docs)


def test_token_counts_are_kept_for_stored_documents_only(library: Library) -> None:
    doc = library.add(document("".join(prose(1)))).document
    library.set_token_count(doc.id, "m", 10)
    library.set_token_count(doc.id, "m", 12)
    library.set_token_count("no such", "m", 12)
    assert library.token_count(doc.id, "m") == 12
    assert library.token_count(doc.id, "n") is None
    assert library.token_count("no such", "m") is None


def test_a_collection_needs_a_name(library: Library) -> None:
    with pytest.raises(ConfigurationError, match="needs a name"):
        library.add(document("Text."), collection="")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_broken_vector_is_refused_and_nothing_is_stored(database: Database, home: Path, bad: float) -> None:
    class Broken(WordEmbedder):
        def embed(self, texts, progress=None):  # type: ignore[no-untyped-def]
            vectors = super().embed(texts, progress)
            vectors[-1] = bad
            return vectors

    library = Library(database, home, Broken())
    with pytest.raises(ModelError, match="embedder returned"):
        library.add(document("".join(prose(1))))
    assert count(database, "documents") == 0
    with pytest.raises(ModelError, match="embedder returned"):
        _ = library.corpus([document("".join(prose(1)))]).vectors
    assert count(database, "vectors") == 0


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_a_damaged_database_is_an_error_that_says_so(library: Library, database: Database, damage: str) -> None:
    library.add_many([Pending(document("".join(prose(seed, 300)), f"/d/{seed}.txt")) for seed in range(4)])
    database.compact()
    database.close()
    data = bytearray(database.path.read_bytes())
    first = 0 if damage == "header" else 4096
    data[first : len(data) * 3 // 4] = b"\x7f" * (len(data) * 3 // 4 - first)
    database.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|can't be used"):
        library.documents()

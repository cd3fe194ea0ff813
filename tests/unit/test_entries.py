"""Texts under ids of the caller's: found by id and by likeness, replaced, removed, and documents all the while."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from support.embedders import WordEmbedder

from turnout import Document, DocumentError, Turnout
from turnout.engines.fake import FakeEngine
from turnout.entries import Entries, Entry
from turnout.errors import ConfigurationError, MissingExtraError

FERRY = "The ferry to Osterholm costs four crowns."
LAMP = "Marta Lindqvist repaired the lamp."


@pytest.fixture
def t():
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder()) as turnout:
        yield turnout


@pytest.fixture
def entries(t: Turnout) -> Entries:
    return t.entries("notes")


def stored(t: Turnout, table: str) -> int:
    with t._opened().database.read() as connection:
        return int(connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar_one())


def test_what_was_put_is_found_by_id_and_by_likeness(entries: Entries) -> None:
    ferry, lamp = Entry("1", FERRY, {"page": 2, "tags": ["sea"]}), Entry("2", LAMP)
    entries.put([ferry, lamp])
    assert entries.get(["2", "3", "1", "2"]) == [lamp, ferry]
    found = entries.nearest("the ferry to Osterholm", 2)
    assert [entry for entry, _ in found] == [ferry, lamp]
    assert 1 >= found[0][1] > found[1][1] >= -1
    assert entries.nearest("ferry", 0) == []
    assert entries.nearest("ferry", 2, lambda entry: entry.id == "2")[0][0] == lamp


def test_a_vector_finds_what_its_text_finds(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY), Entry("2", LAMP)])
    vector = [3 * value for value in t.embed(["the repaired lamp"])[0]]
    by_vector, by_text = entries.nearest(vector, 2), entries.nearest("the repaired lamp", 2)
    assert [entry.id for entry, _ in by_vector] == [entry.id for entry, _ in by_text] == ["2", "1"]
    assert [cosine for _, cosine in by_vector] == pytest.approx([cosine for _, cosine in by_text])
    for bad in ([0.0] * 64, [1.0] * 3):
        with pytest.raises(ConfigurationError, match="shape"):
            entries.nearest(bad, 1)


def test_an_id_that_is_known_is_replaced_and_nothing_of_the_old_text_is_left(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY, {"v": 1})])
    entries.put([Entry("1", LAMP, {"v": 2})])
    assert entries.get(["1"]) == [Entry("1", LAMP, {"v": 2})]
    assert [entry.text for entry, _ in entries.nearest("ferry", 5)] == [LAMP]
    assert stored(t, "documents") == stored(t, "segments") == stored(t, "vectors") == 1


def test_one_text_may_have_two_ids_and_losing_one_keeps_the_other(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY, {"n": 1}), Entry("2", FERRY, {"n": 2})])
    assert {entry.metadata["n"] for entry, _ in entries.nearest("ferry", 5)} == {1, 2}
    entries.remove(["1", "unknown"])
    assert [entry.id for entry, _ in entries.nearest("ferry", 5)] == ["2"]
    entries.remove()
    assert entries.nearest("ferry", 5) == []
    assert stored(t, "documents") == stored(t, "segments") == stored(t, "vectors") == stored(t, "sources") == 0


def test_collections_are_apart_and_removing_from_one_keeps_the_other(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY)])
    t.entries("other").put([Entry("1", FERRY)])
    entries.remove(["1"])
    assert entries.get(["1"]) == []
    assert t.entries("other").get(["1"]) == [Entry("1", FERRY)]


def test_questions_are_asked_over_entries(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY, {"title": "timetable"}), Entry("2", LAMP, {"source": "/d/lamp.txt"})])
    assert [document.title for document in t.documents("notes")] == ["lamp.txt", "timetable"]
    answer = t.ask("Who repaired the lamp?", t.documents("notes"))
    assert answer.citations[0].document.title == "lamp.txt"


def test_a_text_of_several_segments_counts_by_its_best(entries: Entries) -> None:
    filler = "Rain fell on the slate roofs for most of the week. " * 60
    entries.put([Entry("long", f"{filler}\n\n{FERRY}\n\n{filler}"), Entry("short", LAMP)])
    found = entries.nearest("ferry Osterholm crowns", 5)
    assert [entry.id for entry, _ in found] == ["long", "short"]


def test_bad_entries_are_refused_with_a_hint_and_nothing_is_stored(t: Turnout, entries: Entries) -> None:
    with pytest.raises(ConfigurationError, match="metadata of '1'"):
        entries.put([Entry("0", LAMP), Entry("1", FERRY, {"when": object()})])
    with pytest.raises(DocumentError, match="white space"):
        entries.put([Entry("0", LAMP), Entry("1", " \n")])
    for id_ in ("", "-", "a\0b"):
        with pytest.raises(ConfigurationError, match="can't be the id"):
            entries.put([Entry("0", LAMP), Entry(id_, FERRY)])
    assert stored(t, "documents") == 0


def test_a_search_reads_texts_once_and_metadata_of_what_is_near_alone(
    t: Turnout, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries.put(Entry(str(number), f"{FERRY} Number {number}.", {"n": number}) for number in range(120))
    read: list[str] = []
    library = t._opened().library
    for name in ("stored", "held"):
        whole = getattr(library, name)

        def noted(*given: object, _whole: object = whole, _name: str = name, **named: object) -> object:
            found = _whole(*given, **named)
            read.append(f"{_name} {len(found)}")
            return found

        monkeypatch.setattr(library, name, noted)
    first = entries.nearest("Number 7", 3)
    assert read == ["stored 120", "held 50"]
    assert entries.nearest("Number 7", 3) == first
    assert read == ["stored 120", "held 50", "held 50"]


def test_making_one_corpus_keeps_no_other_waiting(t: Turnout, entries: Entries) -> None:
    entries.put([Entry("1", FERRY)])
    t.entries("other").put([Entry("1", LAMP)])
    parts = t._opened()
    making, go_on = threading.Event(), threading.Event()
    plain = parts.library.corpus

    def slow(documents: Sequence[Document], **options: object) -> object:
        if documents[0].text == FERRY:
            making.set()
            assert go_on.wait(10)
        return plain(documents, **options)

    parts.library.corpus = slow
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(entries.nearest, "ferry", 1) for _ in range(2)]
        assert making.wait(10)
        assert t.entries("other").nearest("lamp", 1)[0][0].text == LAMP
        go_on.set()
        assert first[0].result() == first[1].result()


class Asymmetric(WordEmbedder):
    """Reads a question as if it were about the lamp."""

    def embed_question(self, question: str) -> NDArray[np.float32]:
        return self.embed([LAMP])[0]


def test_questions_are_embedded_as_questions_where_the_embedder_can() -> None:
    with Turnout(engine=FakeEngine(), embedder=Asymmetric()) as t:
        entries = t.entries()
        entries.put([Entry("1", FERRY), Entry("2", LAMP)])
        assert [entry.id for entry, _ in entries.nearest(FERRY, 1)] == ["2"]
        hit = max(t.search(FERRY, collection="library"), key=lambda hit: hit.cosine)
        assert (hit.text, hit.cosine) == (LAMP, pytest.approx(1))
        assert t.embed([FERRY], questions=True) == t.embed([LAMP])


def test_without_an_embedder_there_is_a_hint() -> None:
    with Turnout(engine=FakeEngine()) as t:
        t.entries().put([Entry("1", FERRY)])
        with pytest.raises(MissingExtraError, match="turnout models pull"):
            t.entries().nearest("ferry", 1)
        with pytest.raises(MissingExtraError, match="embedder of your own"):
            t.embed(["ferry"])

"""Collections are kept apart: what one holds, asks and computes does not show in another."""

import sqlite3
from pathlib import Path

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, NoDocumentsError, UnknownNameError
from turnout.migrations import MIGRATIONS
from turnout.retrieval.library import Library

QUESTION = "Who repaired the lighthouse lamp?"
SECRET = "The vault of Brask opens with the word heron."


@pytest.fixture
def t(home: Path):
    engine = FakeEngine(capabilities=frozenset({"prefix_cache"}))
    with Turnout(engine=engine, embedder=WordEmbedder(), log="full") as turnout:
        yield turnout


def test_a_collection_lists_and_answers_from_its_own_documents(t: Turnout) -> None:
    t.add(Text(BOOK, "book.md"), collection="acme")
    t.add(Text(SECRET, "secret.md"), collection="brask")
    assert [d.title for d in t.documents("acme")] == ["book.md"]
    assert t.documents() == []
    answer = t.ask(QUESTION, collection="acme")
    assert {c.document.title for c in answer.citations if c.document} == {"book.md"}
    with pytest.raises(NoDocumentsError, match="'cargo'"):
        t.ask(QUESTION, collection="cargo")
    with pytest.raises(ConfigurationError, match="no documents"):
        t.ask(QUESTION)


def test_documents_of_others_are_not_found_under_any_name(t: Turnout) -> None:
    secret = t.add(Text(SECRET, "secret.md", "/vault/secret.md"), collection="brask").documents[0]
    t.add(Text(BOOK, "book.md"), collection="acme")
    for name in (secret.id, secret.id[:12], "secret.md", "/vault/secret.md"):
        for look in (t.named, t.show, lambda n, c: t.remove(n, collection=c)):
            with pytest.raises(UnknownNameError) as caught:
                look(name, "acme")
            assert "secret" not in caught.value.hint
    with pytest.raises(UnknownNameError):
        t.ask("Which word?", [secret], collection="acme")
    assert t.named("secret.md", "brask").id == secret.id


def test_equal_texts_share_nothing_unless_sharing_is_switched_on(home: Path) -> None:
    for shared, made in ((False, 2), (True, 1)):
        embedder = WordEmbedder()
        with Turnout(engine=FakeEngine(), embedder=embedder, home=home / str(shared), share_collections=shared) as t:
            infos = [t.add(Text(SECRET, "x"), collection=name).documents[0] for name in ("acme", "brask")]
            assert len({info.id for info in infos}) == made
            assert embedder.embedded.count(SECRET) == made
            segments = {segment["hash"] for info in infos for segment in t.show(info.id)["segments"]}
            assert len(segments) == made
            assert [each["apart"] for each in t.collections()] == [not shared] * 2


def test_what_was_read_for_one_collection_is_read_again_for_another(t: Turnout) -> None:
    for name in ("acme", "brask"):
        t.add(Text(BOOK, "book.md"), collection=name)
    first, again, other = (t.ask(QUESTION, collection=c, strategy="full").usage for c in ("acme", "acme", "brask"))
    assert (first.cached_tokens, other.cached_tokens) == (0, 0)
    assert again.cached_tokens > 0
    # What is only asked about, and documents of a collection that is not named, belong somewhere too.
    assert t.ask(QUESTION, [Text(BOOK)], collection="acme", strategy="full").usage.cached_tokens > 0
    assert t.ask(QUESTION, [Text(BOOK)], strategy="full").usage.cached_tokens == 0
    assert t.ask(QUESTION, t.documents("brask"), strategy="full").usage.cached_tokens > 0


def test_scores_of_sentences_are_found_again_only_within_a_collection(t: Turnout) -> None:
    for name in ("acme", "brask"):
        t.add(Text(BOOK, "book.md"), collection=name)
    misses = []
    for name in ("acme", "acme", "brask"):
        before = t._opened().scores.statistics().misses
        t.ask(QUESTION, collection=name, strategy="extract")
        misses.append(t._opened().scores.statistics().misses - before)
    assert misses[0] == misses[2] > 0
    assert misses[1] == 0


def test_removing_from_a_collection_leaves_others_and_takes_what_was_only_asked_about(t: Turnout) -> None:
    for name in ("acme", "brask"):
        t.add(Text(SECRET, "secret.md", "/secret.md"), collection=name)
        t.ask("Which word?", collection=name)
    t.ask("Which word?", [Text(SECRET, "secret.md")], collection="acme")
    removed = t.remove("secret.md", collection="acme")
    assert t.documents("acme") == []
    assert [d.title for d in t.documents("brask")] == ["secret.md"]
    with pytest.raises(UnknownNameError):
        t.show(removed[0].id)
    assert [entry.question for entry in t.log(collection="acme")] == [None, None]
    assert [entry.question for entry in t.log(collection="brask")] == ["Which word?"]


def test_a_document_that_two_sharing_collections_have_stays_in_the_other(home: Path) -> None:
    with Turnout(engine=FakeEngine(), share_collections=True) as t:
        for name in ("acme", "brask"):
            t.add(Text(SECRET, "secret.md"), collection=name)
        t.remove("secret.md", collection="acme")
        assert (t.documents("acme"), len(t.documents("brask"))) == ([], 1)


def test_answers_are_explained_and_judged_only_within_their_collection(t: Turnout) -> None:
    t.add(Text(BOOK, "book.md"), collection="acme")
    answer = t.ask(QUESTION, collection="acme")
    assert t.explain(answer.id, "acme").question == QUESTION
    for call in (lambda: t.explain(answer.id, "brask"), lambda: t.feedback(answer.id, good=False, collection="brask")):
        with pytest.raises(UnknownNameError) as caught:
            call()
        assert answer.id not in caught.value.hint
    assert t.log(collection="brask") == []
    t.feedback(answer.id, good=False, collection="acme")
    ledger, model = t._opened().ledger, answer.model.fingerprint
    assert [len(ledger.judged(model, name)) for name in ("acme", "brask", "")] == [1, 0, 0]


def test_the_cache_of_what_was_asked_about_is_bounded_for_each_collection(home: Path) -> None:
    library = Library(Database(home / "turnout.db"), home, None, cached=1)
    with Turnout(engine=FakeEngine()) as t:
        t._opened().library = library
        kept = t.read([Text(SECRET)], "acme")[0]
        for number in range(3):
            t.read([Text(f"{SECRET} {number}")], "brask")
        assert t.show(kept.id)["text"] == SECRET


def test_collections_of_before_go_on_sharing(home: Path) -> None:
    old = sqlite3.connect(home / "turnout.db", isolation_level=None)
    old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
    for version, statements in enumerate(MIGRATIONS[:4], start=1):
        for statement in statements:
            old.execute(statement)
        old.execute("INSERT INTO schema_version VALUES (?)", (version,))
    old.execute("INSERT INTO documents VALUES ('d', 'book', 'text', '/b', 'text', '[]', '[]', 0, 0)")
    old.execute("INSERT INTO sources VALUES ('notes', '/b', 'd', '', '', '', '')")
    old.close()
    with Turnout(engine=FakeEngine()) as t:
        assert t.collections() == [{"name": "notes", "documents": 1, "apart": False}]
        shared, apart = (t.add(Text(SECRET), collection=name).documents[0].id for name in ("notes", "new"))
        assert shared == t.add(Text(SECRET)).documents[0].id != apart

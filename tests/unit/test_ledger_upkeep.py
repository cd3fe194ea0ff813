"""A ledger over time: one of an earlier version is brought up to date, and answers can be taken out of it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, StoreError, UnknownNameError
from turnout.migrations import MIGRATIONS
from turnout.router import ledger

LAMP = "Who repaired the lighthouse lamp?"
LONG = Text(BOOK * 6, "book.md", "shelf/book.md")
MINE = Text("The mine at Falun was closed in 1992.", "mine.md", "shelf/mine.md")


def asked(t: Turnout, *texts: Text) -> list[str]:
    return [t.ask(LAMP, text).id for text in texts]


def changed(home: Path, *statements: tuple[object, ...]) -> None:
    connection = sqlite3.connect(home / "turnout.db", isolation_level=None)
    for statement, *given in statements:
        connection.execute(str(statement), given)
    connection.close()


def test_a_ledger_of_before_regret_is_brought_up_to_date(home: Path) -> None:
    with Turnout(engine=FakeEngine(), log="full") as t:
        (answer,) = asked(t, LONG)
    changed(
        home,
        *((f"DROP TABLE {name}",) for name in ("counterfactuals", "collections", "tokens")),
        ("DROP INDEX answers_by_collection",),
        ("ALTER TABLE answers DROP COLUMN collection",),
        ("ALTER TABLE documents DROP COLUMN realm",),
        ("DELETE FROM schema_version WHERE version > 4",),
        ("UPDATE answers SET record = replace(record, '\"on_paper\": null, ', '')",),
        ("UPDATE answers SET record = replace(record, ', \"on_paper\": null', '')",),
        *((f"UPDATE answers SET record = replace(record, ', \"{name}\": null', '')",) for name in ("later_cost",)),
    )
    with Turnout(engine=FakeEngine(), log="full") as t:
        entry = t.explain(answer)
        assert "on_paper" not in entry.record["decision"]
        assert t.beside(answer) == []
        assert t.regret()["shadow"] is None and t.drift() == []
        assert t.measure_regret()["runs"] == 1, "its decision can still be read"
        assert t.ask(LAMP, LONG).text


def test_a_ledger_of_a_newer_version_is_refused_with_what_to_do(home: Path) -> None:
    with Turnout(engine=FakeEngine()) as t:
        asked(t, LONG)
    changed(home, ("INSERT INTO schema_version VALUES (?)", len(MIGRATIONS) + 1))
    with pytest.raises(StoreError, match="written by a newer turnout") as caught, Turnout(engine=FakeEngine()) as t:
        t.log()
    assert "upgrade turnout" in caught.value.hint


def test_all_answers_are_read_in_order_a_few_at_a_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BATCH", 2)
    with Turnout(engine=FakeEngine()) as t:
        ids = asked(t, *[MINE] * 5)
        changed(
            home, ("UPDATE answers SET created = 1000",), ("UPDATE answers SET created = 2000 WHERE id = ?", ids[2])
        )
        found = [entry.id for entry in t._opened().ledger.each()]
        assert found == [ids[2], *sorted(set(ids) - {ids[2]}, reverse=True)]
        assert [entry.id for entry in t._opened().ledger.each(since=1500)] == [ids[2]]


def test_answers_are_purged_by_age_by_document_or_all(home: Path) -> None:
    with Turnout(engine=FakeEngine(), log="full") as t:
        old, book, mine, _ = asked(t, LONG, LONG, MINE, MINE)
        t.feedback(old, good=True)
        t.measure_regret()
        changed(home, ("UPDATE answers SET created = created - 86400 * 40 WHERE id = ?", old))
        assert t.purge_log(older_than="30d", dry_run=True) == 1
        assert t.purge_log(older_than="30d") == 1
        assert t.purge_log(older_than=86_400 * 30) == 0
        with pytest.raises(UnknownNameError):
            t.explain(old)
        assert t.purge_log(document="mine.md") == 2
        assert [entry.id for entry in t.log()] == [book]
        assert t.purge_log() == 1
        assert t.log() == [] and t.regret()["answers"] == 0
    rest = sqlite3.connect(home / "turnout.db")
    for table in ("answers", "answer_documents", "feedback", "counterfactuals"):
        assert rest.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
    rest.close()
    assert mine


def test_answers_over_a_document_that_is_gone_are_found_by_its_id_or_source(home: Path) -> None:
    with Turnout(engine=FakeEngine()) as t:
        asked(t, LONG, MINE)
        document = t.read(LONG)[0]
        t.remove(document.id)
        assert t.purge_log(document=document.source, dry_run=True) == 1
        assert t.purge_log(document=document.id) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.purge_log(older_than="soon"), ConfigurationError),
        (lambda t: t.purge_log(older_than=-1.0), ConfigurationError),
        (lambda t: t.purge_log(older_than=float("nan")), ConfigurationError),
        (lambda t: t.purge_log(older_than="1d", document="a"), ConfigurationError),
        (lambda t: t.purge_log(document="never.txt"), UnknownNameError),
    ],
)
def test_what_cannot_be_meant_deletes_nothing(
    home: Path, call: Callable[[Turnout], object], error: type[Exception]
) -> None:
    with Turnout(engine=FakeEngine()) as t:
        asked(t, LONG)
        with pytest.raises(error):
            call(t)
        assert len(t.log()) == 1

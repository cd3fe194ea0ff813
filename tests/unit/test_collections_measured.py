"""What is measured, asked many times and purged stays within a collection too."""

from pathlib import Path

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, NoDocumentsError, UnknownNameError

LAMP, FERRY = "Who repaired the lighthouse lamp?", "What does the ferry to Osterholm cost?"
LONG = Text(BOOK * 6, "book.md", "/shelf/book.md")
MINE = Text("The mine at Falun was closed in 1992.", "mine.md", "/shelf/mine.md")
NAMES = ("acme", "brask")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def t(home: Path, engine: FakeEngine):
    """Two collections with the same text from the same place."""
    with Turnout(engine=engine, embedder=WordEmbedder(), log="full") as turnout:
        for name in NAMES:
            turnout.add(LONG, collection=name)
        yield turnout


def salt_of(t: Turnout, collection: str) -> str:
    (salt,) = t._opened().library.salts(document.id for document in t.documents(collection))
    return salt


# --- many questions --------------------------------------------------------------------------------------------------


async def test_many_questions_are_asked_over_a_collection_or_over_documents_as_of_it(
    t: Turnout, engine: FakeEngine
) -> None:
    found = list(t.ask_many([LAMP, (FERRY, "book.md"), ("When was the mine closed?", MINE)], collection="acme"))
    found += [answer async for answer in t.aask_many([LAMP], collection="acme")]
    assert [answer.decision.signals["expected_questions"] for answer in found[:3]] == [1, 1, 1]
    assert {params.cache_namespace for params in engine.params} == {salt_of(t, "acme")}
    assert len(t.log(collection="acme")) == 4 and t.log(collection="brask") == []
    with pytest.raises(NoDocumentsError, match="'cargo'"):
        next(t.ask_many([LAMP], collection="cargo"))
    with pytest.raises(ConfigurationError, match="has no documents"):
        t.ask_many([LAMP])


def test_a_job_file_is_of_one_collection(t: Turnout, tmp_path: Path) -> None:
    job = tmp_path / "job.jsonl"
    assert len(list(t.ask_many([LAMP], collection="acme", job=job))) == 1
    assert list(t.ask_many([LAMP], collection="acme", job=job)) == []
    for other in ({"collection": "brask"}, {"documents": t.documents("acme")}):
        with pytest.raises(ConfigurationError, match="collection differ"):
            next(t.ask_many([LAMP], job=job, **other))


def test_questions_of_another_collection_are_not_expected_to_come_again(t: Turnout) -> None:
    for _ in range(3):
        t.ask(LAMP, collection="acme")
    lately = [t.plan(LAMP, collection=name).signals["asked_lately"] for name in NAMES]
    assert lately == [3, 0]


# --- regret ----------------------------------------------------------------------------------------------------------


def test_what_others_would_have_answered_is_seen_and_judged_only_within(t: Turnout, engine: FakeEngine) -> None:
    acme, brask = (t.ask(LAMP, collection=name) for name in NAMES)
    assert t.measure_regret(collection="acme")["runs"] == 1
    assert [each.strategy for each in t.beside(acme.id, "acme")] == ["full"]
    assert t.beside(brask.id) == []
    assert engine.contexts[-1].parts[0].span.document_id == t.documents("acme")[0].id
    for call in (
        lambda: t.beside(acme.id, "brask"),
        lambda: t.feedback(acme.id, good=True, strategy="full", collection="brask"),
        lambda: t.measure_regret(answers=[acme.id], collection="brask"),
    ):
        with pytest.raises(UnknownNameError) as caught:
            call()
        assert acme.id not in caught.value.hint
    t.feedback(acme.id, good=True, strategy="full", collection="acme")
    told = {name: t.regret(collection=name) for name in NAMES}
    assert [told[name]["answers"] for name in NAMES] == [1, 1]
    assert told["acme"]["kinds"][-1]["questions"] == 1 and told["brask"]["kinds"] == []
    kept = t._opened().counterfactuals
    assert (list(kept.all(collection="acme")), kept.all(collection="brask")) == ([acme.id], {})


def test_losers_that_run_in_the_background_are_of_the_collection(home: Path) -> None:
    engine = FakeEngine()
    with Turnout(engine=engine, log="full", regret=1.0) as t:
        t._background.quiet_s = 0.0
        t.add(LONG, collection="acme")
        answer = t.ask(LAMP, collection="acme")
        assert t._background.settled(10)
        assert [each.state for each in t.beside(answer.id, "acme")] == ["answered"]
        assert engine.params[-1].cache_namespace == f"regret/{answer.id}/full"


def test_verdicts_and_groups_are_those_of_a_collection(t: Turnout) -> None:
    acme, brask = (t.ask(LAMP, collection=name) for name in NAMES)
    for answer in (acme, brask):
        t.feedback(answer.id, good=answer is acme)
    ledger = t._opened().ledger
    assert (ledger.verdicts("acme"), ledger.verdicts("brask")) == ({acme.id: True}, {brask.id: False})
    assert (list(ledger.groups("acme")), len(ledger.groups())) == ([acme.id], 2)
    assert [entry.id for entry in ledger.each(collection="brask")] == [brask.id]
    assert t.drift("acme") == t.drift("nobody") == []


# --- escalation ------------------------------------------------------------------------------------------------------


def test_every_strategy_that_is_asked_finds_only_what_was_read_for_the_collection(home: Path) -> None:
    engine = FakeEngine(["Not in the text."], window=20_000)
    with Turnout(engine=engine, embedder=WordEmbedder(), passage_tokens=300) as t:
        t.add(Text("\n\n".join(f"{BOOK} ({number})" for number in range(6))), collection="acme")
        t.ask(LAMP, collection="acme", escalate="always")
        assert len(engine.params) > 1
        assert {params.cache_namespace for params in engine.params} == {salt_of(t, "acme")}
        assert len(t.log(collection="acme")) == 1


# --- what is taken out -----------------------------------------------------------------------------------------------


def test_removing_a_document_erases_what_others_answered_over_it_in_its_collection_alone(t: Turnout) -> None:
    answers = [t.ask(LAMP, collection=name) for name in NAMES]
    assert t.measure_regret()["runs"] == 2
    t.remove("book.md", collection="acme")
    assert [t.beside(answer.id)[0].text is None for answer in answers] == [True, False]


def test_answers_are_purged_of_one_collection(t: Turnout) -> None:
    for name in NAMES:
        t.ask(LAMP, collection=name)
    t.ask(LAMP, LONG)
    mine = t.documents("acme")[0].id
    assert t.purge_log(document=mine, dry_run=True) == 1, "not what others asked of the same file"
    assert t.purge_log(document="book.md", collection="brask", dry_run=True) == 1
    with pytest.raises(UnknownNameError):
        t.purge_log(document=mine, collection="brask")
    t.remove("book.md", collection="acme")
    assert t.purge_log(document=mine, dry_run=True) == 1
    assert t.purge_log(document="/shelf/book.md", collection="acme", dry_run=True) == 1
    assert t.purge_log(collection="acme") == 1
    assert [len(t.log(collection=name)) for name in NAMES] == [0, 1]
    assert t.purge_log(older_than="1d", collection="brask") == 0
    assert t.purge_log() == 2

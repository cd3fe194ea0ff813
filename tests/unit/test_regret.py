"""Measured regret: other strategies answer a share of the questions, and nobody who asks has to wait for that."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.library import BOOK

from turnout import EngineError, Text, Turnout
from turnout.config import Settings
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, StoreError, UnknownNameError
from turnout.measuring import GONE, LED, WITHOUT_TEXT, is_drawn
from turnout.router.counterfactuals import Counterfactuals, Outcome
from turnout.router.losers import Caps, affordable, check
from turnout.router.regret import Measured, report
from turnout.types import Answer, Candidate, Context

LAMP = "Who repaired the lighthouse lamp?"
LONG = Text(BOOK * 6)


def measuring(engine: FakeEngine, **options: object) -> Turnout:
    t = Turnout(engine=engine, **{"log": "full", "regret": 1.0, **options})  # type: ignore[arg-type]
    t._background.quiet_s = 0.0
    return t


class Otherwise(FakeEngine):
    """Answers from the whole text with another sentence than from passages."""

    def _answer(self, context: Context) -> str:
        whole = sum(len(part.text) for part in context.parts) >= len(LONG.text)
        return "Rain fell on the slate roofs." if whole else super()._answer(context)


# --- in the background -----------------------------------------------------------------------------------------------


def test_losers_answer_when_nobody_asks_and_leave_nothing_behind_for_others(home: Path) -> None:
    engine = FakeEngine()
    with measuring(engine) as t:
        answer = t.ask(LAMP, LONG)
        assert t._background.settled(10)
        (other,) = t.beside(answer.id)
        assert len(t.log()) == 1, "the ledger's answers are those that were given"
        namespaces = [params.cache_namespace for params in engine.params]
    assert (answer.decision.chosen, other.strategy) == ("rag", "full")
    assert other.same and other.text == answer.text and other.seconds is not None
    assert namespaces[0] is None and namespaces[1] == f"regret/{answer.id}/full"


def test_a_question_never_waits_for_them(home: Path) -> None:
    slow = FakeEngine(["word " * 400], token_s=0.01)
    with measuring(slow) as t:
        first = t.ask(LAMP, LONG)
        while len(slow.contexts) < 2:
            time.sleep(0.01)
        begun = time.perf_counter()
        second = t.ask(LAMP, LONG, strategy="rag")
        waited = time.perf_counter() - begun - second.usage.total_s
        assert waited < 1.0, "of the four seconds that the other one takes"
        assert t.beside(first.id)[0].state == "given up"
        assert t.regret()["spent_s"] > 0, "what was given up is paid for"


def test_closing_does_not_wait_for_them(home: Path) -> None:
    slow = FakeEngine(["word " * 400], token_s=0.01)
    t = measuring(slow)
    t.ask(LAMP, LONG)
    while len(slow.contexts) < 2:
        time.sleep(0.01)
    begun = time.perf_counter()
    t.close()
    assert time.perf_counter() - begun < 1.0
    assert t._background.settled(0) and t._parts is None, "nothing goes on, and nothing opens it anew"


def test_nothing_is_run_unasked_nor_beyond_the_caps_of_a_day(home: Path) -> None:
    engine = FakeEngine()
    for options in ({"regret": None}, {"regret": 0.0}, {"regret_max_s": 1e-6}):
        with measuring(engine, **options) as t:
            t.ask(LAMP, LONG)
            assert t._background.settled(10)
    assert len(engine.contexts) == 3


def test_a_share_is_drawn_by_the_answers_id_alone() -> None:
    drawn = [is_drawn(f"answer{number}", 0.2) for number in range(2000)]
    assert 330 < sum(drawn) < 470
    assert drawn == [is_drawn(f"answer{number}", 0.2) for number in range(2000)]
    assert not is_drawn("answer", 0.0) and is_drawn("answer", 1.0)


def test_a_loser_that_fails_is_written_down_and_not_tried_again(home: Path) -> None:
    class Fails(FakeEngine):
        def generate(self, context: Context, *given: object) -> Iterator[object]:
            if sum(len(part.text) for part in context.parts) >= len(LONG.text):
                raise EngineError("out of order")
            yield from super().generate(context, *given)  # type: ignore[arg-type]

    with measuring(Fails()) as t:
        answer = t.ask(LAMP, LONG)
        assert t._background.settled(10)
        assert [each.state for each in t.beside(answer.id)] == ["failed"]
        assert t.measure_regret()["runs"] == 0
        assert t.regret()["kinds"] == []


def test_a_database_that_cannot_be_written_is_told_and_breaks_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("no space left")

    with measuring(FakeEngine()) as t:
        monkeypatch.setattr(Counterfactuals, "_put", full)
        assert t.ask(LAMP, LONG).text
        assert t._background.settled(10)
        assert t.regret()["error"] == "no space left"
        monkeypatch.undo()
        answer = t.ask(LAMP, LONG)
        assert t._background.settled(10)
        assert t.beside(answer.id)[0].same, "the next question is measured all the same"


def test_what_a_removed_document_said_is_not_kept_by_a_run_that_comes_later(home: Path) -> None:
    slow = FakeEngine(["Marta Lindqvist repaired it. " * 20], token_s=0.002)
    with measuring(slow) as t:
        answer = t.ask(LAMP, LONG)
        while len(slow.contexts) < 2:
            time.sleep(0.002)
        t.remove(t.read(LONG)[0].id)
        assert t._background.settled(10)
        assert t.beside(answer.id)[0].state == "answered"
        assert t.beside(answer.id)[0].text is None


def test_what_was_chosen_by_name_has_no_regret(home: Path) -> None:
    engine = FakeEngine()
    with measuring(engine) as t:
        t.ask(LAMP, LONG, strategy="full")
        assert t._background.settled(10)
    assert len(engine.contexts) == 1


# --- limits ----------------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_not_inside_a_cap() -> None:
    def candidate(total: float | None, cost: float | None) -> Candidate:
        return Candidate("full", total_s=total, cost=cost)

    assert affordable(candidate(5.0, None), Caps(10.0))
    assert not affordable(candidate(None, 1.0), Caps(10.0))
    assert not affordable(candidate(5.0, None), Caps(10.0, 1.0))
    assert not affordable(candidate(11.0, 0.1), Caps(10.0, 1.0))
    assert not affordable(Candidate("full", total_s=5.0, total_high_s=12.0), Caps(10.0))


def test_money_is_not_spent_without_a_limit(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="costs EUR"):
        check(Caps(600.0), "EUR")
    check(Caps(600.0, 0.5), "EUR")
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\n[models."fake"]\ninput = 1.0\noutput = 1.0\n', encoding="utf-8")
    with measuring(FakeEngine(), prices=prices) as t, pytest.raises(ConfigurationError, match="costs EUR"):
        t.ask(LAMP, LONG)


@pytest.mark.parametrize(
    "options", [{"regret": 1.5}, {"regret": -0.1}, {"regret": 0.1, "log": "off"}, {"regret_max_s": 0}]
)
def test_settings_that_contradict_each_other_are_refused(home: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="regret"):
        Settings.load(**options)  # type: ignore[arg-type]


# --- of the ledger, by hand ------------------------------------------------------------------------------------------


def test_the_ledgers_questions_can_be_measured_later(home: Path) -> None:
    with Turnout(engine=FakeEngine(), log="decisions") as t:
        t.ask(LAMP, LONG)
    with Turnout(engine=FakeEngine(), log="full") as t:
        answer = t.ask(LAMP, LONG)
        t.ask(LAMP, LONG, instructions="Answer in French.")
        told = t.measure_regret()
        assert (told["questions"], told["runs"]) == (1, 1)
        assert told["left_out"] == {LED: 1, WITHOUT_TEXT: 1}
        assert t.beside(answer.id)[0].same
        assert t.measure_regret()["runs"] == 0, "what was run is not run again"
        t.remove(t.read(LONG)[0].id)
        assert t.beside(answer.id)[0].text is None, "what a removed document said is erased here too"
        assert t.measure_regret()["left_out"] == {GONE: 3}


def test_what_a_measurement_cannot_mean_is_refused(home: Path) -> None:
    with Turnout(engine=FakeEngine(), log="off") as t, pytest.raises(ConfigurationError, match="log is off"):
        t.measure_regret()
    with Turnout(engine=FakeEngine()) as t:
        for refused in (lambda: t.measure_regret(0), lambda: t.regret(days=0), lambda: t.regret(days=float("nan"))):
            with pytest.raises(ConfigurationError):
                refused()


# --- what is told ----------------------------------------------------------------------------------------------------


def judged(t: Turnout) -> Answer:
    answer = t.ask(LAMP, LONG)
    t.measure_regret()
    return answer


def test_verdicts_on_both_answers_give_the_score_that_was_lost(home: Path) -> None:
    with Turnout(engine=Otherwise(), log="full") as t:
        answer = judged(t)
        row = t.regret()["kinds"][-1]
        assert (row["differ"]["mean"], row["known"], row["score_lost_at_most"]) == (1.0, 0, 1.0)
        t.feedback(answer.id, good=False)
        assert t.regret()["kinds"][-1]["known"] == 0
        t.feedback(answer.id, good=True, strategy="full")
        row = t.regret()["kinds"][-1]
        assert (row["known"], row["score_lost"]["mean"]) == (1, 1.0)
        t.feedback(answer.id, good=True)
        assert t.regret()["kinds"][-1]["score_lost"]["mean"] == 0.0
        with pytest.raises(UnknownNameError, match="known: full"):
            t.feedback(answer.id, good=True, strategy="soft")


def test_a_report_is_by_kind_with_intervals_over_documents() -> None:
    def question(number: int, kind: str, seconds: float, agrees: float) -> Measured:
        other = Outcome("full", "answered", agreement=agrees, abstained=False, seconds=1.0)
        return Measured(f"a{number}", kind, f"d{number % 5}", "rag", seconds, None, (other,))

    found = [question(n, "location", 3.0, 1.0) for n in range(10)] + [
        question(n, "comparison", 3.0, 0.1) for n in (1, 2)
    ]
    location, comparison, every = report(found)
    assert (location["kind"], comparison["kind"], every["kind"]) == ("location", "comparison", "all")
    assert (location["questions"], location["documents"], location["runs"]) == (10, 5, 10)
    assert location["seconds_lost"] == {"mean": 2.0, "low": 2.0, "high": 2.0}
    assert (comparison["seconds_lost"]["mean"], comparison["score_lost_at_most"]) == (0.0, 1.0)
    assert every["known"] == 10
    assert report([]) == []

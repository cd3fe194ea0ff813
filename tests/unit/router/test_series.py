"""Several questions over the same documents: what is dear once is compared by what it takes for all of them."""

from pathlib import Path

import pytest
from support.keeping import KeepingFake
from support.library import BOOK
from support.routing import PROFILE, candidate, signals

from turnout import Budget, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError
from turnout.router import series
from turnout.router.policy import decide
from turnout.types import Decision

LONG = Text(BOOK * 6)
FULL = candidate("full", quality=0.6, ttft_s=17.5, total_s=18.0, later_s=1.5, cost=18.0, later_cost=1.5)
RAG = candidate("rag", quality=0.6, ttft_s=2.2, total_s=2.7, later_s=2.7, cost=2.7, later_cost=2.7)


def decided(questions: int, optimize: str = "quality", left_s: float | None = None) -> Decision:
    at = signals(expected_questions=questions, left_s=left_s)
    return decide([FULL, RAG], Budget(optimize=optimize), at, PROFILE)  # type: ignore[arg-type]


def test_the_break_even_count_is_the_first_at_which_all_questions_take_less() -> None:
    count = series.break_even(FULL, RAG)
    assert count == 14
    assert 18.0 + (count - 1) * 1.5 < count * 2.7
    assert 18.0 + (count - 2) * 1.5 >= (count - 1) * 2.7
    assert series.break_even(RAG, FULL) == 1
    assert series.break_even(candidate("full", total_s=9.0, later_s=3.0), RAG) is None, "never wins"
    assert series.break_even(candidate("full", total_s=9.0, later_s=None), RAG) is None, "not known"


@pytest.mark.parametrize("optimize", ["quality", "balanced", "latency", "cost"])
def test_every_objective_counts_the_questions_to_come(optimize: str) -> None:
    assert decided(1, optimize).chosen == "rag"
    assert decided(13, optimize).chosen == "rag"
    assert decided(40, optimize).chosen == "full"


def test_the_decision_explains_the_break_even_count() -> None:
    many = decided(40)
    assert many.because[-2:] == (
        "40 questions over these documents are expected",
        "full takes less time than rag from the 14th question on: 18.0 s and then 1.5 s each, against 2.7 s and then"
        " 2.7 s each",
    )
    assert "full at 14 or more questions over these documents" in decided(1).would_flip


def test_a_limit_for_all_questions_is_held_against_all_of_them() -> None:
    assert decided(20, left_s=50.0).chosen == "full", "46.5 s, where rag takes 54"
    assert decided(13, left_s=36.0).chosen == "rag"
    assert decided(20, left_s=1.0).chosen == "full", "none is in time: the one that takes least in all"
    assert any("of 50.0 s left" in line for line in decided(20, left_s=50.0).because)


@pytest.mark.parametrize(("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd")])
def test_ordinals(number: int, word: str) -> None:
    assert series.ordinal(number) == word


@pytest.mark.parametrize("expected", [0, -1, True, 2.5, "3"])
def test_a_number_of_questions_that_cannot_be_is_refused(expected: object) -> None:
    with Turnout(engine=FakeEngine()) as t, pytest.raises(ConfigurationError, match="expected_questions"):
        t.plan("Who?", Text(BOOK), expected_questions=expected)  # type: ignore[arg-type]


def test_reading_everything_pays_off_only_where_the_engine_keeps_it(home: Path) -> None:
    def later(engine: FakeEngine, **options: bool) -> tuple[float, float]:
        with Turnout(engine=engine, **options) as t:  # type: ignore[arg-type]
            full = t.plan("Who?", Text(BOOK), expected_questions=9)["full"]
            assert full.total_s is not None and full.later_s is not None
            return full.total_s, full.later_s

    now, again = later(KeepingFake())
    assert again < now
    for engine, options in ((FakeEngine(), {}), (KeepingFake(), {"lasting": False})):
        now, again = later(engine, **options)
        assert again == now


def test_what_was_asked_lately_is_expected_again_until_somebody_says_better(home: Path) -> None:
    def asked(engine: FakeEngine) -> Decision:
        with Turnout(engine=engine) as t:
            for _ in range(3):
                t.ask("Who repaired the lamp?", LONG, strategy="rag")
            t.ask("Who repaired the lamp?", [LONG, Text("Another one.")], strategy="rag")
            assert t.plan("Who?", LONG, expected_questions=1).signals["expected_questions"] == 1
            assert t.plan("Who?", Text("Never asked about.")).signals["expected_questions"] == 1
            found = t.plan("And what does the ferry cost?", LONG)
            t.purge_log()
        assert found.signals["expected_questions"] == 4
        return found

    told = "4 questions over these documents are expected, as many again as were asked lately (3)"
    assert told in asked(KeepingFake()).because
    assert told not in asked(FakeEngine()).because, "it changes nothing"

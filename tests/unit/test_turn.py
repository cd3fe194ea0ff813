"""Questions are prepared in turn, and answered at once where the engine does several."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.library import BOOK
from support.serving import at_once

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError
from turnout.turn import Turn
from turnout.types import Decided, EngineEvent, Prefilled, Reading

QUESTION = "Who repaired the lighthouse lamp?"
THREE = frozenset({"concurrent"})


class Meeting(FakeEngine):
    """Goes on with an answer when three of them are begun."""

    barrier = threading.Barrier(3)

    def generate(self, *given: object, **options: object) -> Iterator[EngineEvent]:
        for event in super().generate(*given, **options):  # type: ignore[arg-type]
            yield event
            if isinstance(event, Prefilled):
                self.barrier.wait(20)


def test_several_questions_are_answered_at_once_by_an_engine_that_can(home: Path) -> None:
    with Turnout(engine=Meeting(capabilities=THREE)) as t:
        found = at_once([lambda: t.ask(QUESTION, Text(BOOK), strategy="full").text] * 3)
        assert len(set(found)) == 1 and isinstance(found[0], str)
        assert len(t.log()) == 3


def test_a_question_inside_an_open_stream_is_answered_once_that_one_is_begun(home: Path) -> None:
    with Turnout(engine=FakeEngine(capabilities=THREE)) as t:
        stream = t.stream(QUESTION, Text(BOOK))
        assert isinstance(next(stream), Decided)
        with pytest.raises(ConfigurationError, match="still being streamed"):
            t.ask(QUESTION, Text(BOOK))
        assert isinstance(next(stream), Reading)
        assert t.ask(QUESTION, Text(BOOK)).text
        assert [*stream][-1].answer.text


def test_closing_ends_all_answers_that_are_begun_and_waits_for_them(home: Path) -> None:
    engine = FakeEngine(["word " * 400], capabilities=THREE, token_s=0.01)
    t = Turnout(engine=engine).open()

    def close() -> None:
        while len(engine.contexts) < 3:
            time.sleep(0.01)
        t.close()

    found = at_once([*[lambda: t.ask(QUESTION, Text(BOOK), strategy="full")] * 3, close])
    assert [type(each) for each in found] == [Cancelled] * 3 + [type(None)]


def test_a_turn_that_is_let_go_is_free_and_its_holder_still_counts() -> None:
    turn, closed = Turn(), []

    def close() -> None:
        with turn.closing():
            closed.append(True)

    with turn.taken() as first:
        first.let_go()
        first.let_go()
        with turn.taken() as second:
            assert not first() and not second()
        thread = threading.Thread(target=close)
        thread.start()
        while not first():
            time.sleep(0.001)
        assert not closed
    thread.join(5)
    assert closed


def test_a_spare_turn_is_for_when_nobody_asks_and_makes_way_between_steps() -> None:
    turn = Turn()
    with turn.spare() as is_wanted:
        assert is_wanted is not None and not is_wanted()
        turn.make_way()
        with turn.asked():
            assert is_wanted() and turn.quiet_s() == 0.0
            with pytest.raises(Cancelled, match="made way"):
                turn.make_way()
    with turn.asked():
        turn.make_way()  # only what has a spare turn
    with turn.taken(), turn.spare() as is_wanted:
        assert is_wanted is None
    assert turn.quiet_s() > 0.0

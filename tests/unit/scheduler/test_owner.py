"""One thread does what others ask of it, in order, and ends when nobody can ask any more."""

import gc
import threading
import time
import weakref

import pytest
from support.serving import at_once

from turnout.engines.scheduler.owner import Owner, on_owner


def test_work_is_done_in_one_thread_and_what_it_gives_and_raises_comes_back() -> None:
    owner = Owner("test")
    done: list[int] = []

    def work(number: int) -> int:
        done.append(threading.get_ident())
        if number == 7:
            raise KeyError(number)
        return owner.run(lambda: number)  # from inside it waits for nothing

    found = at_once([lambda number=number: owner.run(lambda: work(number)) for number in range(16)])
    assert [each for each in found if not isinstance(each, KeyError)] == [n for n in range(16) if n != 7]
    assert len(set(done)) == 1 and done[0] != threading.get_ident()
    owner.close()
    owner.close()
    assert owner.run(threading.get_ident) == threading.get_ident(), "after that there is no other thread"


def test_turns_are_taken_between_the_work_and_only_while_there_are_some() -> None:
    owner, turns = Owner("test"), []

    def turn() -> bool:
        turns.append(1)
        return len(turns) < 5

    owner.turn = turn
    assert owner.run(lambda: len(turns)) == 0
    deadline = time.monotonic() + 5
    while len(turns) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(turns) == 5
    owner.close()


def test_an_owner_that_nobody_has_ends_its_thread() -> None:
    owner = Owner("test")
    owner.run(int)
    thread, gone = owner._thread, weakref.ref(owner)
    del owner
    gc.collect()
    thread.join(5)
    assert not thread.is_alive() and gone() is None


def test_a_method_runs_in_its_objects_thread_and_without_one_where_it_is_called() -> None:
    class Thing:
        def __init__(self, owner: Owner | None) -> None:
            self.owner = owner

        @on_owner
        def where(self, *, more: int) -> int:
            return threading.get_ident() + more

    owner = Owner("test")
    assert Thing(None).where(more=0) == threading.get_ident()
    assert Thing(owner).where(more=1) == owner.run(threading.get_ident) + 1
    with pytest.raises(TypeError):
        Thing(owner).where()  # type: ignore[call-arg]
    owner.close()

"""What an engine has to do is counted from the first event that is asked for, until the events end or are given up."""

import gc
import threading
from collections.abc import Iterator

import pytest
from support import openai_stub
from support.tiny_models import context

from turnout.contracts import TellsLoad
from turnout.engines import local
from turnout.engines.chat_model import ChatModelEngine
from turnout.engines.fake import FakeEngine
from turnout.engines.in_flight import InFlight, Load, shared
from turnout.engines.local import LocalEngine
from turnout.engines.remote import RemoteEngine
from turnout.engines.scheduler.shares import SHARED
from turnout.types import EngineEvent, Finished, GenerationParams, Prefilled, Token

NOTHING = Load()


def events() -> Iterator[EngineEvent]:
    yield Prefilled(60, 100)
    yield Prefilled(100, 100)
    yield Token("one")
    yield Token(" two")
    yield Finished("stop", 100, 2)


def test_a_request_waits_while_its_prompt_is_read_and_then_runs_until_it_ends() -> None:
    requests = InFlight(in_turn=True)
    followed = requests.follow(events(), 100, 8)
    assert requests.load() == NOTHING, "nobody has asked for anything yet"
    next(followed)
    assert requests.load() == Load(1, 0, unread_tokens=40, prompt_tokens=100, unwritten_tokens=8)
    next(followed)
    assert requests.load() == Load(0, 1, unread_tokens=0, prompt_tokens=100, unwritten_tokens=8)
    next(followed)
    next(followed)
    assert requests.load().unwritten_tokens == 6
    assert [*followed] == [Finished("stop", 100, 2)]
    assert requests.load() == NOTHING


def test_several_count_together_and_one_that_is_left_counts_no_more() -> None:
    requests = InFlight(in_turn=False)
    first, second = (requests.follow(events(), 100, 8) for _ in range(2))
    next(first), next(first), next(second)
    assert requests.load() == Load(1, 1, 40, 200, 16, in_turn=False)
    second.close()
    assert (requests.load().waiting, requests.load().running) == (0, 1)
    del first
    gc.collect()
    assert requests.load() == Load(in_turn=False)


def test_a_request_that_fails_counts_no_more_and_what_it_used_is_closed() -> None:
    closed = []

    def failing() -> Iterator[EngineEvent]:
        try:
            yield Prefilled(1, 2)
            raise RuntimeError("no")
        finally:
            closed.append(True)

    requests = InFlight(in_turn=True)
    with pytest.raises(RuntimeError):
        list(requests.follow(failing(), 2, 1))
    left = requests.follow(failing(), 2, 1)
    next(left)
    left.close()
    assert (requests.load(), closed) == (NOTHING, [True, True])


def test_requests_of_many_threads_are_all_counted_and_all_gone_after_them() -> None:
    requests, inside = InFlight(in_turn=False), threading.Barrier(9)

    def ask() -> None:
        followed = requests.follow(events(), 100, 8)
        next(followed)
        inside.wait(5)
        inside.wait(5)
        list(followed)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    inside.wait(5)
    assert requests.load() == Load(8, 0, 320, 800, 64, in_turn=False)
    inside.wait(5)
    for thread in threads:
        thread.join()
    assert requests.load() == Load(in_turn=False)


def test_engines_of_one_server_share_a_count_that_goes_with_them() -> None:
    first = shared("http://a/v1")
    assert shared("http://a/v1") is first
    assert shared("http://b/v1") is not first
    next(first.follow(events(), 1, 1))
    del first
    gc.collect()
    assert shared("http://a/v1").load() == Load(in_turn=False)


def test_a_local_engine_counts_an_answer_that_is_being_written(engine: LocalEngine) -> None:
    assert isinstance(engine, TellsLoad)
    asked = context("the light stands on the island " * 5)
    tokens = engine.count(asked)
    answer = engine.generate(asked, GenerationParams(max_tokens=5))
    begun = next(answer)
    assert isinstance(begun, Prefilled) and begun.done < tokens
    step = engine.chunk // SHARED
    assert engine.in_flight() == Load(1, 0, tokens - begun.done, tokens, 5, in_turn=False, step_tokens=step)
    answer.close()
    assert engine.in_flight() == Load(in_turn=False)
    list(engine.generate(asked, GenerationParams(max_tokens=2)))
    assert engine.in_flight() == Load(in_turn=False)


def test_a_local_engine_that_has_no_place_left_reads_a_new_prompt_after_others(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "AT_ONCE", 1)
    answer = engine.generate(context(), GenerationParams(max_tokens=5))
    next(answer)
    assert engine.in_flight().step_tokens == 0
    answer.close()


def test_another_engine_for_the_same_server_sees_what_this_process_asks_of_it() -> None:
    with openai_stub.serve(openai_stub.Stub(words=["a "] * 50, word_s=0.02)) as stub:
        first, second = RemoteEngine(stub.url), RemoteEngine(f"{stub.url}/v1")
        first.open(), second.open()
        asked = len(stub.requests)
        assert second.in_flight() == Load(in_turn=False)
        answer = first.generate(context(), GenerationParams(max_tokens=40))
        assert isinstance(next(answer), Prefilled)
        seen = second.in_flight()
        assert (seen.waiting, seen.running, seen.unwritten_tokens, seen.in_turn) == (0, 1, 40, False)
        assert len(stub.requests) == asked + 1, "telling it asks the server nothing"
        answer.close()
        assert second.in_flight() == Load(in_turn=False)


def test_a_chat_model_counts_too_and_an_engine_need_not() -> None:
    class Said:
        text = "hello"

    class Model:
        profile = None

        def stream(self, messages: object, **options: object) -> Iterator[Said]:
            yield Said()

    engine = ChatModelEngine(Model())
    answer = engine.generate(context(), GenerationParams(max_tokens=9))
    next(answer)
    assert engine.in_flight().running == 1
    list(answer)
    assert engine.in_flight() == Load(in_turn=False)
    assert not isinstance(FakeEngine(), TellsLoad)

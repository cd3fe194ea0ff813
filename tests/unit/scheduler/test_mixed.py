"""Many requests of every kind at once: all of them end, right, and nothing stays behind."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.tiny_models import context, text_of

from turnout.engines.local import LocalEngine
from turnout.errors import EngineBusyError, EngineError, EngineTimeoutError, TurnoutError
from turnout.types import Context, Finished, GenerationParams, Token

TOKEN_BYTES = 128  # a layer of 2 heads of 8 numbers, keys and values of 4 bytes
WORKERS = 16


@dataclass(frozen=True)
class Request:
    """One of a few hundred kinds, and what is done to it.

    Attributes:
        way: "read" to its end, "stop" after so many events, "close" after them, "late", "bad".
    """

    context: Context
    params: GenerationParams
    way: str
    after: int = 0


def drawn(source: random.Random) -> Request:
    subject = source.choice(["the sea", "the light", "the island", "night"])
    size = source.choice([1, 3, 10, 10, 30, 80])
    asked = context(f"{subject} stands " * size, question=f"Where is {source.randrange(4)}?")
    params = GenerationParams(source.choice([0, 1, 3, 3, 8, 12]))
    if source.random() < 0.3:
        params = replace(params, temperature=0.8, seed=source.randrange(3))
    if source.random() < 0.2:
        params = replace(params, stop=("e",))
    way = source.choices(["read", "stop", "close", "late", "bad"], [60, 12, 12, 8, 8])[0]
    if way == "bad":
        bad = [
            replace(params, max_tokens=100_000),
            replace(params, temperature=float("nan")),
            replace(params, temperature=1.0, seed=1.5),
        ]
        return Request(asked, source.choice(bad), way)  # type: ignore[arg-type]
    if way == "late":
        params = replace(params, timeout_s=source.choice([0.0, 0.001, 0.02]))
    return Request(asked, params, way, source.randrange(1, 6))


class Run:
    """Asks all requests in some threads; `wrong` says what went otherwise than it should."""

    def __init__(self, engine: LocalEngine, answer: Callable[[Request], str]) -> None:
        self._engine, self._answer = engine, answer
        self._lock = threading.Lock()
        self.wrong: list[str] = []
        self.ends: dict[str, int] = {}

    def all(self, requests: list[Request], seconds: float) -> None:
        todo: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for request in requests:
            todo.put(request)
        threads = [threading.Thread(target=self._work, args=(todo,), daemon=True) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in threads), "a request is stuck"

    def _work(self, todo: queue.SimpleQueue[Request]) -> None:
        while True:
            try:
                request = todo.get_nowait()
            except queue.Empty:
                return
            try:
                end = self._ask(request)
            except Exception as error:
                end = type(error).__name__
                self.wrong.append(f"{request.way}: {error!r}")
            with self._lock:
                self.ends[end] = self.ends.get(end, 0) + 1

    def _ask(self, request: Request) -> str:
        while True:
            try:
                return self._asked(request)
            except EngineBusyError as error:
                assert error.retry_after_s > 0
                time.sleep(min(error.retry_after_s, 0.1))
            except EngineTimeoutError:
                if request.way != "late":
                    raise
                return "late"
            except TurnoutError as error:
                if request.way != "bad" or not error.hint:
                    raise
                return "refused"

    def _asked(self, request: Request) -> str:
        events, given_up = [], False
        stream = self._engine.generate(request.context, request.params, lambda: given_up)
        for event in stream:
            events.append(event)
            if len(events) >= request.after and request.way in ("stop", "close"):
                given_up = True
                if request.way == "close":
                    stream.close()
        said, last = text_of(events), events[-1]
        if request.way == "bad":
            raise AssertionError("was answered")
        if request.way == "close" and given_up:
            assert self._answer(request).startswith(said)
            return "left"
        assert isinstance(last, Finished) and not any(isinstance(event, Finished) for event in events[:-1])
        whole = self._answer(request)
        assert whole.startswith(said), f"{said!r} is no beginning of {whole!r}"
        if last.reason not in ("cancelled", "timeout"):
            assert said == whole, f"{said!r} is not {whole!r}"
        assert request.way in ("stop", "late") or last.reason not in ("cancelled", "timeout")
        assert all(event.text for event in events if isinstance(event, Token))
        return last.reason


def check(folder: Path, count: int, seed: int, seconds: float) -> None:
    source = random.Random(seed)
    requests = [drawn(source) for _ in range(count)]
    serial = LocalEngine(folder, device="cpu", dtype="float32", lookup=False)
    known: dict[tuple[Context, GenerationParams], str] = {}
    for request in requests:
        key = request.context, replace(request.params, timeout_s=None)
        if request.way != "bad" and key not in known:
            known[key] = text_of(serial.generate(*key))
    serial.close()

    # Room for two or three of the larger ones, so that many have to wait for it.
    pool = TOKEN_BYTES * 1024
    engine = LocalEngine(folder, device="cpu", dtype="float32", chunk_tokens=64, pool_bytes=pool, waiting=6)
    engine.open()
    room = engine._session.room()
    run = Run(engine, lambda request: known[request.context, replace(request.params, timeout_s=None)])
    run.all(requests, seconds)
    assert not run.wrong, f"{len(run.wrong)} of {count}, first {run.wrong[:3]}"
    assert sum(run.ends.values()) == count
    assert run.ends["refused"] and run.ends["cancelled"] and run.ends["left"] and run.ends["late"]
    engine.forget()
    assert (engine.at_once, engine._opened().scheduler.waiting, engine.in_flight().waiting) == (0, 0, 0)
    assert engine._session.room() == room, "pages are lost"
    assert len(engine._session._residency._tree) == 0
    with pytest.raises(EngineError, match="over the window"):
        next(engine.generate(requests[0].context, GenerationParams(max_tokens=100_000)))
    engine.close()


def test_hundred_and_fifty_mixed_requests(tiny_folder: Path) -> None:
    check(tiny_folder, 150, seed=1, seconds=120)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_mixed_requests(tiny_folder: Path) -> None:
    check(tiny_folder, 10_000, seed=2, seconds=1800)

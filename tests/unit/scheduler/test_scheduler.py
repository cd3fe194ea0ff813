"""What a request gets while others run: its turn, its answer, its own errors and nobody else's."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.serving import asked, at_once, held, seen, watched
from support.tiny_models import context, text_of

from turnout.engines.local import LocalEngine
from turnout.engines.paged.session import Session
from turnout.engines.scheduler import line, scheduler
from turnout.engines.scheduler.shares import Prompt
from turnout.engines.writing import Writing
from turnout.errors import EngineBusyError, EngineError, EngineTimeoutError, MemoryLimitError
from turnout.types import Context, Finished, GenerationParams, Prefilled, Token

PARAMS = GenerationParams(max_tokens=8)
ASKED = [context("the light stands on the island " * (1 + n % 7), question=f"Where is {n}?") for n in range(32)]


def text(engine: LocalEngine, question: Context, params: GenerationParams = PARAMS) -> str:
    return text_of(engine.generate(question, params))


def test_thirty_two_threads_get_the_answers_of_one(engine: LocalEngine, tiny_folder: Path) -> None:
    serial = LocalEngine(tiny_folder, device="cpu", dtype="float32", lookup=False)
    wanted = [text(serial, question) for question in ASKED]
    serial.close()
    assert "concurrent" in engine.capabilities
    assert at_once([lambda question=question: text(engine, question) for question in ASKED]) == wanted
    engine.forget()  # in its turn, which is after all of them
    assert (engine.in_flight().waiting, engine.in_flight().running, engine.at_once) == (0, 0, 0)


def test_thirty_two_threads_may_open_it_too(tiny_folder: Path) -> None:
    new = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    found = at_once([lambda question=question: text(new, question) for question in ASKED])
    assert found == [text(new, question) for question in ASKED]
    new.close()


def test_answers_that_are_written_together_share_their_steps(engine: LocalEngine) -> None:
    params, answers = GenerationParams(max_tokens=20), []
    with held(engine):
        for question in ASKED[:8]:
            answers.append(asked(engine, question, params))
            engine._opened().scheduler.submit(answers[-1])
    before = engine._opened().scheduler.steps
    for answer in answers:
        list(engine._opened().scheduler.events(answer))
    reading = sum(answer.author.prompt_tokens for answer in answers) // 32 + 8  # a step reads half a chunk
    assert engine._opened().scheduler.steps - before <= 20 + reading < 160, "one by one they are 160 steps to write"


def test_a_short_question_is_answered_while_a_long_prompt_is_read(long_folder: Path) -> None:
    engine = LocalEngine(long_folder, device="cpu", chunk_tokens=128, dtype="float32", lookup=False)
    long = asked(engine, context("the sea and the island at night " * 350), PARAMS)
    short = asked(engine, context("the sea", question="Where?"), PARAMS)
    first, lengths = dict[str, int](), []

    def after(step: int) -> None:
        lengths.append(long.author.length)
        if step == 10:
            engine._opened().scheduler.submit(short)
        for name, answer in (("short", short), ("long", long)):
            if any(isinstance(event, Token | Finished) for event in seen(answer)):
                first.setdefault(name, step)

    with watched(engine, after):
        engine._opened().scheduler.submit(long)
        deadline = time.monotonic() + 60
        while not (long.is_over and short.is_over) and time.monotonic() < deadline:
            time.sleep(0.01)
    alone = steps_alone(engine, long.author.prompt_tokens)
    # It gets half of half a chunk in each of the steps that it shares.
    assert first["short"] <= 10 + 2 + -(-short.author.prompt_tokens // 32)
    assert first["long"] > first["short"] + alone // 2, "it was read long after"
    assert lengths[first["short"]] > lengths[10], "and it was read on meanwhile"
    assert first["long"] <= alone * 1.25, "which took at most a quarter more"
    engine.close()


def steps_alone(engine: LocalEngine, tokens: int) -> int:
    step, depth, steps = engine._opened().scheduler._step, 0, 0
    while depth < tokens:
        depth += step.shares([Prompt(tokens - depth, depth)], step.budget(1))[0]
        steps += 1
    return steps


def test_what_several_prompts_begin_with_is_read_once_also_when_they_come_together(engine: LocalEngine) -> None:
    document = "the light stands on the island and shines at night over the sea " * 6
    questions = [context(document, question=f"Where is {n}?") for n in range(6)]
    with held(engine):
        answers = [asked(engine, question, PARAMS) for question in questions]
        for answer in answers:
            engine._opened().scheduler.submit(answer)
    ends = [list(engine._opened().scheduler.events(answer))[-1] for answer in answers]
    shared = min(end.cached_tokens for end in ends[1:])
    assert shared >= ends[0].prompt_tokens - 64 - 32, f"only {shared} were found"
    assert [text(engine, question) for question in questions] == [text(engine, q) for q in questions]


@pytest.mark.parametrize("kind", [Prefilled, Token])
def test_giving_up_while_it_is_read_or_written_frees_what_it_held(engine: LocalEngine, kind: type) -> None:
    engine.forget()
    room, wanted = engine._session.room(), text(engine, ASKED[0])
    given_up = engine.generate(context("the sea " * 100), GenerationParams(max_tokens=150))
    while not isinstance(next(given_up), kind):
        pass
    given_up.close()
    engine.forget()
    assert engine._session.room() == room
    assert text(engine, ASKED[0]) == wanted
    engine.forget()
    assert (engine.in_flight().running, engine.at_once) == (0, 0)


def test_giving_up_while_it_waits_ends_it_before_its_turn(engine: LocalEngine, monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduler, "AT_ONCE", 1)
    with held(engine):
        first, gone = (asked(engine, question, GenerationParams(max_tokens=200)) for question in ASKED[:2])
        engine._opened().scheduler.submit(first)
        engine._opened().scheduler.submit(gone)
        engine._opened().scheduler.cancel(gone)
    (event,) = engine._opened().scheduler.events(gone)
    assert (event.reason, event.completion_tokens, gone.author.length) == ("cancelled", 0, 0)
    assert list(engine._opened().scheduler.events(first))[-1].reason != "cancelled"


def test_a_caller_that_says_so_while_nothing_comes_is_heard(engine: LocalEngine) -> None:
    gave_up, ends = threading.Event(), list[Any]()
    late = engine.generate(ASKED[1], PARAMS, gave_up.is_set)
    thread = threading.Thread(target=lambda: ends.extend(late))
    inbox = engine._opened().owner._inbox
    with held(engine):
        thread.start()
        while inbox.qsize() < 1:  # the request
            time.sleep(0.001)
        gave_up.set()
        while inbox.qsize() < 2:  # and that it is given up
            time.sleep(0.001)
    thread.join(30)
    assert [(event.reason, event.completion_tokens) for event in ends] == [("cancelled", 0)]


def test_closing_ends_what_runs_and_what_waits_with_an_error_and_it_opens_again(
    engine: LocalEngine, monkeypatch: Any
) -> None:
    monkeypatch.setattr(scheduler, "AT_ONCE", 2)
    wanted = text(engine, ASKED[3])
    old, inbox, begun = engine._opened().scheduler, engine._opened().owner._inbox, threading.Event()
    answers = [asked(engine, question, GenerationParams(max_tokens=100)) for question in ASKED[:3]]

    def after(step: int) -> None:
        if step == 6:
            begun.set()
            while not inbox.qsize():
                time.sleep(0.001)

    with watched(engine, after):
        with held(engine):
            for answer in answers:
                old.submit(answer)
        assert begun.wait(30)
        engine.close()
    for answer in answers:
        with pytest.raises(EngineError, match="was closed before the answer was complete") as caught:
            list(old.events(answer))
        assert caught.value.retryable and caught.value.hint
    assert [answer.author.length for answer in answers] == [0, 0, 0], "and their pages are given back"
    old.submit(answers[0])
    with pytest.raises(EngineError, match="was closed before the answer was begun"):
        list(old.events(answers[0]))
    assert text(engine, ASKED[3]) == wanted


def test_more_than_may_wait_are_told_how_many_wait_and_when_to_come_again(tiny_folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduler, "AT_ONCE", 1)
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32", waiting=3)
    with held(engine):
        for question in ASKED[:3]:
            engine._opened().scheduler.submit(asked(engine, question, PARAMS))
        with pytest.raises(EngineBusyError, match=r"3 requests wait for .*, and no more than 3 may") as caught:
            next(engine.generate(ASKED[4], PARAMS))
        assert caught.value.retryable and caught.value.retry_after_s > 0 and "try again in about" in caught.value.hint
    deadline = time.monotonic() + 10
    while engine._opened().scheduler.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert text(engine, ASKED[4])
    engine.close()


def test_a_timeout_counts_while_it_waits_and_ends_that_request_alone(engine: LocalEngine, monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduler, "AT_ONCE", 1)
    first = engine.generate(ASKED[0], GenerationParams(max_tokens=300))
    next(first)
    with pytest.raises(EngineTimeoutError):
        list(engine.generate(ASKED[1], replace(PARAMS, timeout_s=0.001)))
    assert isinstance(list(first)[-1], Finished)


def test_an_error_in_one_request_is_that_ones(engine: LocalEngine, monkeypatch: Any) -> None:
    wanted = [text(engine, question) for question in ASKED[:4]]
    plain = Writing.pick

    def pick(self: Writing, logits: Any) -> int:
        if self.params.seed == 666:
            raise ZeroDivisionError("a mistake")
        return plain(self, logits)

    monkeypatch.setattr(Writing, "pick", pick)
    bad = replace(PARAMS, seed=666)
    work = [lambda question=question: text(engine, question) for question in ASKED[:4]]
    found = at_once([*work, lambda: text(engine, ASKED[5], bad)])
    assert found[:4] == wanted and isinstance(found[4], ZeroDivisionError)
    engine.forget()
    assert engine.at_once == 0


@pytest.mark.parametrize("is_prompt", [True, False])
def test_memory_that_one_request_lacks_costs_no_other(engine: LocalEngine, monkeypatch: Any, is_prompt: bool) -> None:
    engine.forget()
    wanted, room = [text(engine, question) for question in ASKED[:4]], engine._session.room()
    plain = Session.step
    bad = asked(engine, ASKED[6], replace(PARAMS, cache_namespace="bad"))
    sequence, _ = bad.author.prompt

    def step(self: Session, feeds: Any, columns: Any = None, **options: Any) -> Any:
        if options.get("is_prompt") is is_prompt and any(each is sequence for each, _, _ in feeds):
            raise MemoryLimitError("no memory left for a step")
        return plain(self, feeds, columns, **options)

    monkeypatch.setattr(Session, "step", step)
    with held(engine):
        answers = [asked(engine, question, replace(PARAMS, cache_namespace="other")) for question in ASKED[:4]]
        for answer in (answers[0], bad, *answers[1:]):
            engine._opened().scheduler.submit(answer)
    assert [text_of(engine._opened().scheduler.events(answer)) for answer in answers] == wanted
    with pytest.raises(MemoryLimitError, match="no memory left"):
        list(engine._opened().scheduler.events(bad))
    engine.forget()
    assert engine._session.room() >= room


def test_a_mistake_of_ours_leaves_nobody_waiting(engine: LocalEngine, monkeypatch: Any) -> None:
    wanted = text(engine, ASKED[0])
    with monkeypatch.context() as patched:
        patched.setattr(engine._opened().scheduler, "_read", lambda: 1 / 0)
        with pytest.raises(EngineError, match=r"a step of .* failed: ZeroDivisionError") as caught:
            text(engine, context("something else"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert text(engine, ASKED[0]) == wanted


# A layer of 2 heads of 8 numbers, keys and values of 4 bytes: 128 bytes a token.
TOKEN_BYTES = 128


def small(folder: Path, tokens: int) -> LocalEngine:
    engine = LocalEngine(folder, device="cpu", dtype="float32", pool_bytes=TOKEN_BYTES * tokens, lookup=False)
    engine.open()
    return engine


def test_what_fits_alone_but_not_beside_others_waits_and_what_never_fits_does_not(tiny_folder: Path) -> None:
    engine = small(tiny_folder, 448)
    large, params = context("the sea " * 120), GenerationParams(max_tokens=16)
    assert 256 < engine.count(large) + 16 <= 448
    wanted = text(engine, large, params)
    engine.forget()
    with held(engine):
        answers = [asked(engine, large, replace(params, cache_namespace=name)) for name in "abc"]
        for answer in answers:
            engine._opened().scheduler.submit(answer)
    assert [text_of(engine._opened().scheduler.events(answer)) for answer in answers] == [wanted] * 3
    first = engine.generate(ASKED[0], GenerationParams(max_tokens=200))
    next(first)
    with pytest.raises(MemoryLimitError, match="over the 448 whose keys and values there is room for"):
        list(engine.generate(context("the sea " * 150), GenerationParams(max_tokens=40)))
    first.close()
    engine.close()


def test_one_that_waits_for_room_is_not_passed_for_ever(tiny_folder: Path) -> None:
    engine = small(tiny_folder, 448)
    order: list[str] = []
    large = asked(engine, context("the sea " * 120), replace(PARAMS, cache_namespace="large"))
    tiny = [asked(engine, context("x", question=str(n)), replace(PARAMS, cache_namespace=str(n))) for n in range(30)]
    assert tiny[0].author.prompt_tokens + 8 > 64

    def note(name: str, answer: Any) -> None:
        plain = answer.begin

        def begin(promised: int) -> None:
            plain(promised)
            order.append(name)

        answer.begin = begin

    for n, answer in enumerate(tiny):
        note(f"tiny {n}", answer)
    note("large", large)
    with held(engine):
        for answer in (*tiny[:4], large, *tiny[4:]):
            engine._opened().scheduler.submit(answer)
    for answer in (large, *tiny):
        assert isinstance(list(engine._opened().scheduler.events(answer))[-1], Finished)
    assert order.index("large") <= 4 + line.PASSED
    engine.close()


def test_an_engine_that_nobody_has_any_more_is_freed(tiny_folder: Path) -> None:
    import gc
    import weakref

    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    text(engine, ASKED[0])
    thread, gone = engine._opened().owner._thread, weakref.ref(engine)
    del engine
    deadline = time.monotonic() + 20  # its thread may be at the end of the step in which the answer ended
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    thread.join(20)
    assert gone() is None and not thread.is_alive()


def test_one_that_looks_up_words_says_the_same_beside_others(tiny_folder: Path) -> None:
    engine = LocalEngine(tiny_folder, device="cpu", dtype="float32")
    plain = LocalEngine(tiny_folder, device="cpu", dtype="float32", lookup=False)
    wanted = [text(plain, question) for question in ASKED[:6]]
    assert at_once([lambda question=question: text(engine, question) for question in ASKED[:6]]) == wanted
    assert [text(engine, question) for question in ASKED[:6]] == wanted
    engine.close(), plain.close()


def test_what_the_model_reads_for_others_waits_for_room_and_requests_wait_for_it(tiny_folder: Path) -> None:
    engine = small(tiny_folder, 448)
    large, params = context("the sea " * 120), GenerationParams(max_tokens=16)
    wanted, surprise = text(engine, large, params), engine.surprise(["the sea " * 60], " the island")
    engine.forget()
    with held(engine):
        answers = [asked(engine, large, replace(params, cache_namespace=name)) for name in "ab"]
        for answer in answers:
            engine._opened().scheduler.submit(answer)
    assert engine.surprise(["the sea " * 60], " the island") == pytest.approx(surprise, rel=1e-4)
    assert [text_of(engine._opened().scheduler.events(answer)) for answer in answers] == [wanted] * 2

    late = asked(engine, large, replace(params, cache_namespace="late"))
    with engine._opened().scheduler.visiting(0):
        own = engine.sequence()
        own.reserve(300)
        engine._opened().scheduler.submit(late)
        assert engine.count(large) and engine._session.room() < 300
        assert seen(late) == [] and not late.is_over, "refused, though there will be room"
        own.close(keep=False)
    assert text_of(engine._opened().scheduler.events(late)) == wanted
    engine.close()

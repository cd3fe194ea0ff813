"""The remote engine behind a connection that fails: what is tried again, what is not, and what the ledger counts."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faulty_proxy import Fault, Proxy, between
from support.hurry import HOURS_S, hurry
from support.library import BOOK
from support.openai_stub import Stub, serve
from support.tiny_models import context, text_of

from turnout import Decoding, Text, Turnout
from turnout.engines import remote
from turnout.engines.remote import RemoteEngine
from turnout.engines.remote_request import Request
from turnout.errors import EngineError, EngineTimeoutError
from turnout.types import Finished, GenerationParams, Prefilled, Token

PARAMS = GenerationParams()
SOON = {"retry-after-ms": "10"}
QUESTION = "Who repaired the lighthouse lamp?"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve(Stub()) as server:
        yield server


@pytest.fixture
def proxy(stub: Stub) -> Iterator[Proxy]:
    with between(stub.url) as found:
        yield found


def ask(proxy: Proxy, params: GenerationParams = PARAMS, stopped: Any = None, **options: Any) -> list[Any]:
    return list(RemoteEngine(proxy.url, **options).generate(context(), params, stopped))


BEFORE_THE_FIRST_WORD = {
    "too many requests": [Fault(status=429, headers=SOON)],
    "an error inside": [Fault(status=500, headers=SOON), Fault(status=503, headers=SOON)],
    "a dropped connection": [Fault(drop=True)],
    "a stream that is cut before it begins": [Fault(cut_after=0)],
    "a stream that ends without a word": [Fault(edit=lambda _: None)],
}


@pytest.mark.parametrize("name", BEFORE_THE_FIRST_WORD)
def test_what_fails_before_the_first_word_is_asked_again_and_counted_once(proxy: Proxy, name: str) -> None:
    proxy.faults = list(BEFORE_THE_FIRST_WORD[name])
    events = ask(proxy)
    assert text_of(events) == "On Sark."
    assert [type(event) for event in events].count(Prefilled) == 1
    assert (events[-1].prompt_tokens, events[-1].completion_tokens) == (21, 3)
    assert proxy.chats == 1 + len(BEFORE_THE_FIRST_WORD[name])


def test_from_the_first_word_on_nothing_is_asked_again(proxy: Proxy) -> None:
    proxy.faults = [Fault(cut_after=2)]
    seen: list[Any] = []
    with pytest.raises(EngineError, match="broke off") as caught:
        for event in RemoteEngine(proxy.url).generate(context(), PARAMS):
            seen.append(event)
    assert text_of(seen) == "On Sark"
    assert caught.value.retryable and caught.value.hint
    assert proxy.chats == 1


def test_thoughts_are_words_too(stub: Stub, proxy: Proxy) -> None:
    thought = {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "Sark?"}}]}
    proxy.faults = [Fault(cut_after=2, edit=lambda event: {**event, **thought})]
    with pytest.raises(EngineError, match="broke off"):
        ask(proxy)
    assert proxy.chats == 1


def test_an_answer_that_is_complete_needs_nothing_after_it(stub: Stub, proxy: Proxy) -> None:
    proxy.faults = [Fault(cut_after=len(stub.words) + 1)]  # between the end of the answer and its usage
    events = ask(proxy)
    assert (text_of(events), events[-1].reason, events[-1].completion_tokens) == ("On Sark.", "stop", 3)
    assert proxy.chats == 1


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(cut_after=0), Fault(status=500, headers=SOON)])
def test_without_retries_the_first_failure_is_told(proxy: Proxy, fault: Fault) -> None:
    proxy.faults = [fault]
    with pytest.raises(EngineError) as caught:
        ask(proxy, retries=0)
    assert caught.value.retryable
    assert proxy.chats == 1


def test_it_gives_up_after_the_retries(proxy: Proxy) -> None:
    proxy.faults = [Fault(status=503, headers=SOON)] * 9
    with pytest.raises(EngineError, match="HTTP 503"):
        ask(proxy)
    assert (proxy.chats, proxy.passed) == (3, 0)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_can_only_fail_again_is_sent_once(stub: Stub, proxy: Proxy, status: int) -> None:
    proxy.faults = [Fault(status=status, headers=SOON)]
    with pytest.raises(EngineError, match=str(status)) as caught:
        ask(proxy)
    assert not caught.value.retryable
    assert proxy.chats == 1


def test_a_pause_that_the_server_asks_for_can_be_given_up(proxy: Proxy) -> None:
    proxy.faults = [Fault(status=429, headers={"Retry-After": "60"})]
    begin = time.perf_counter()
    assert ask(proxy, stopped=lambda: proxy.chats > 0)[-1].reason == "cancelled"
    assert time.perf_counter() - begin < 30.0


def test_a_pause_that_is_longer_than_the_servers_silence_may_be_is_not_waited_for(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.faults = [Fault(status=429, headers={"Retry-After": "60"})]
    engine, sent = RemoteEngine(proxy.url), []
    monkeypatch.setattr(remote, "Request", lambda *given: sent.append(Request(*given)) or sent[-1])

    def refused() -> bool:
        if sent[0].refused:
            engine._timeout_s = 0.2
        return False

    with pytest.raises(EngineTimeoutError, match=r"sent nothing for 0\.2 s, 1 times refused, last with HTTP 429"):
        list(engine.generate(context(), PARAMS, refused))


def test_time_that_goes_by_with_refusals_is_said_to_be(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.faults = [Fault(status=429, headers={"Retry-After": "60"})]
    sent: list[Request] = []
    monkeypatch.setattr(remote, "Request", lambda *given: sent.append(Request(*given)) or sent[-1])
    hurry(monkeypatch, lambda: bool(sent and sent[0].refused))
    with pytest.raises(EngineTimeoutError, match="1 times refused, last with HTTP 429") as caught:
        ask(proxy, GenerationParams(timeout_s=HOURS_S / 2))
    assert "ask less often" in caught.value.hint


def test_a_slow_stream_ends_with_the_time_and_keeps_what_it_has(
    stub: Stub, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.words, proxy.faults = ["word "] * 200, [Fault(line_s=0.02)]
    events: list[Any] = []
    hurry(monkeypatch, lambda: any(isinstance(event, Token) for event in events))
    events.extend(RemoteEngine(proxy.url).generate(context(), GenerationParams(timeout_s=HOURS_S / 2)))
    assert events[-1].reason == "timeout"
    assert 0 < events[-1].completion_tokens < 200


def test_a_server_that_falls_silent_is_left_and_not_asked_again(stub: Stub, proxy: Proxy) -> None:
    stub.word_s = 3.0
    engine = RemoteEngine(proxy.url)
    with pytest.raises(EngineTimeoutError, match=r"sent nothing for 0\.2 s") as caught:
        for _ in engine.generate(context(), PARAMS):
            engine._timeout_s = 0.2
    assert "--server-timeout-s" in caught.value.hint
    assert proxy.chats == 1


def test_a_stop_string_counts_where_the_server_never_heard_of_it(stub: Stub, proxy: Proxy) -> None:
    stub.words, proxy.faults = ["On Sark", " END", " and", " on"], [Fault(without=("stop",))]
    events = ask(proxy, GenerationParams(stop=("END",)))
    assert (text_of(events), events[-1].reason) == ("On Sark ", "stop")
    assert "stop" not in stub.requests[0]


def test_a_server_that_never_ends_is_ended_here(stub: Stub, proxy: Proxy) -> None:
    stub.words, proxy.faults = ["word "] * 2000, [Fault(without=("max_tokens",))]
    events = ask(proxy, GenerationParams(max_tokens=10))
    assert events[-1].reason == "length"
    assert events[-1].completion_tokens < 100


MALFORMED = [
    "many",
    7,
    [1, 2],
    {"prompt_tokens": "21", "completion_tokens": -3},
    {"prompt_tokens": True, "completion_tokens": 2.5, "prompt_tokens_details": "none"},
    {"prompt_tokens": 0, "completion_tokens": None, "prompt_tokens_details": {"cached_tokens": "all"}},
    {"prompt_tokens": 21, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 10_000}},
    {"completion_tokens": 3, "prompt_tokens_details": [4]},
    {"prompt_tokens": -9, "completion_tokens": "lots", "prompt_tokens_details": {"cached_tokens": 10_000}},
]


def test_usage_that_can_not_be_is_counted_here(proxy: Proxy) -> None:
    engine = RemoteEngine(proxy.url)
    for usage in MALFORMED:
        proxy.faults = [Fault(edit=lambda event, usage=usage: {**event, "usage": usage} if "usage" in event else event)]
        *_, last = engine.generate(context(), PARAMS)
        assert isinstance(last, Finished)
        assert last.prompt_tokens in (21, engine.count(context())), usage
        assert (last.completion_tokens, last.cached_tokens) == (3, 0), usage


def test_a_chunk_that_can_not_be_read_has_no_text(proxy: Proxy) -> None:
    engine = RemoteEngine(proxy.url)
    for choices in (None, [], {}, "x", [None], [{"delta": None}], [{"delta": {"content": 5}}]):
        events = iter([{"choices": choices}])
        proxy.faults = [Fault(edit=lambda event, broken=events: {**event, **next(broken, {})})]
        assert text_of(engine.generate(context(), PARAMS)) == "Sark.", choices


def test_a_stream_that_is_no_json_is_an_error_with_a_hint(proxy: Proxy) -> None:
    proxy.faults = [Fault(edit=lambda _: b'{"choices": [')] * 2
    with pytest.raises(EngineError, match="broke off") as caught:
        ask(proxy)
    assert caught.value.hint


def test_a_web_page_is_no_server(stub: Stub) -> None:
    stub.page = True
    with pytest.raises(EngineError, match="something else than a list of models") as caught:
        RemoteEngine(stub.url).open()
    assert "/v1" in caught.value.hint


def test_an_answer_that_was_asked_for_three_times_is_in_the_ledger_once(
    stub: Stub, proxy: Proxy, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\n[models.tiny]\ninput = 3.0\noutput = 200.0\n', encoding="utf-8")
    stub.models, stub.words = [{"id": "tiny", "max_model_len": 4000}], ["Marta ", "Lindq", "vist"]
    with Turnout(proxy.url, prices=prices) as t:
        proxy.faults = [Fault(status=500, headers=SOON), Fault(status=429, headers=SOON)]
        answer = t.ask(QUESTION, Text(BOOK), strategy="full")
        assert proxy.chats == 3
        assert answer.usage.cost == pytest.approx((21 * 3.0 + 3 * 200.0) / 1e6)
        assert [entry.record["usage"]["cost"] for entry in t.log()] == [answer.usage.cost]

        proxy.faults = [Fault(cut_after=1)]
        with pytest.raises(EngineError, match="broke off"):
            t.ask(QUESTION, Text(BOOK), strategy="full")
        assert proxy.chats == 4
        assert [entry.id for entry in t.log()] == [answer.id], "what came to nothing is no answer"


def test_usage_that_can_not_be_is_in_the_ledger_as_it_was_counted_here(
    stub: Stub, proxy: Proxy, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\n[models.tiny]\ninput = 3.0\noutput = 200.0\n', encoding="utf-8")
    stub.models, stub.words = [{"id": "tiny", "max_model_len": 4000}], ["Marta ", "Lindq", "vist"]
    broken = {"prompt_tokens": -9, "completion_tokens": "lots", "prompt_tokens_details": {"cached_tokens": 10_000}}
    proxy.faults = [Fault(edit=lambda event: {**event, "usage": broken} if "usage" in event else event)]
    with Turnout(proxy.url, prices=prices) as t:
        answer = t.ask(QUESTION, Text(BOOK), strategy="full")
        (kept,) = t.log()
    read = answer.decision["full"].prompt_tokens
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens) == (read, 3, 0)
    assert kept.record["usage"]["cost"] == answer.usage.cost == pytest.approx((read * 3.0 + 3 * 200.0) / 1e6)


def test_a_server_that_ignores_stop_is_charged_for_what_was_taken_and_left(stub: Stub, proxy: Proxy) -> None:
    stub.models, stub.word_s = [{"id": "tiny", "max_model_len": 4000}], 0.01
    stub.words = ["Marta ", "Lindqvist", " END", *["word "] * 500]
    proxy.faults = [Fault(without=("stop",))]
    with Turnout(proxy.url) as t:
        answer = t.ask(QUESTION, Text(BOOK), strategy="full", decoding=Decoding(stop=(" END",)))
        assert (answer.text, answer.usage.completion_tokens) == ("Marta Lindqvist", 3)
        assert [entry.record["usage"]["completion_tokens"] for entry in t.log()] == [3]
    assert stub.broken.wait(2.0), "the server was left"

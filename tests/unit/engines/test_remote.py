"""The remote engine against a real HTTP server on this machine."""

import socket
import time
import traceback
from collections.abc import Iterator

import pytest
from support import openai_stub
from support.tiny_models import context, text_of

from turnout.config import Settings
from turnout.engines import open_engine
from turnout.engines.remote import RemoteEngine, defuse
from turnout.errors import ConfigurationError, EngineError, EngineTimeoutError, UnknownNameError
from turnout.types import Finished, GenerationParams, Prefilled, Token

PARAMS = GenerationParams()
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def stub() -> Iterator:
    with openai_stub.serve(openai_stub.Stub()) as server:
        yield server


def ask(stub, params: GenerationParams = PARAMS, stopped=None, **options) -> list:
    return list(RemoteEngine(stub.url, **options).generate(context(), params, stopped))


def test_an_answer_is_streamed_with_the_servers_usage(stub):
    stub.usage = {"prompt_tokens": 21, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16}}
    events = ask(stub)
    assert [event.text for event in events if isinstance(event, Token)] == ["On ", "Sark", "."]
    assert isinstance(events[0], Prefilled)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.prompt_tokens, last.completion_tokens, last.cached_tokens) == ("stop", 21, 3, 16)
    assert last.first_token_s > 0


def test_the_request_carries_the_parameters_and_the_question_last(stub):
    ask(stub, GenerationParams(max_tokens=7, temperature=0.5, seed=3, stop=("\n\n", "a", "b", "c", "d")))
    (request,) = stub.requests
    assert (request["model"], request["max_tokens"], request["temperature"], request["seed"]) == ("tiny", 7, 0.5, 3)
    assert request["stop"] == ["\n\n", "a", "b", "c"]
    assert request["stream_options"] == {"include_usage": True}
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["messages"][-1]["content"].endswith("Where does the light stand?")


def test_stop_strings_are_kept_even_where_the_server_ignores_them(stub):
    stub.words = ["On Sa", "rk\n", "\nQuestion: more"]
    events = ask(stub, GenerationParams(stop=("\n\nQuestion",)))
    assert (text_of(events), events[-1].reason) == ("On Sark", "stop")


def test_a_server_without_usage_is_counted_here(stub):
    stub.usage = None
    last = ask(stub)[-1]
    assert last.completion_tokens == 3
    assert last.prompt_tokens > 10


def test_a_hosted_model_that_wants_the_new_name_of_the_limit_gets_it(stub):
    stub.only_new_limit = True
    assert text_of(ask(stub)) == "On Sark."
    assert "temperature" not in stub.requests[-1]


def test_the_window_and_the_only_model_come_from_the_server(stub, settings: Settings):
    engine = open_engine(Settings(home=settings.home, model=stub.url))
    assert (engine.model.name, engine.model.window) == ("tiny", 1000)
    stub.models = [{"id": "m", "meta": {"n_ctx_train": 4096}}]
    assert RemoteEngine(stub.url).model.window == 4096
    stub.models = [{"id": "m"}]
    assert RemoteEngine(stub.url).model.window == 8192
    assert open_engine(Settings(home=settings.home, model=stub.url, server_window=77)).model.window == 77


def test_what_a_server_was_started_with_counts_and_not_what_its_model_could_read(stub):
    stub.models, stub.slot_tokens = [{"id": "m", "meta": {"n_ctx_train": 131072}}], 4096
    assert RemoteEngine(stub.url).model.window == 4096


def test_no_name_among_several_and_unknown_names_list_what_is_there(stub):
    stub.models = [{"id": "alpha"}, {"id": "beta"}]
    with pytest.raises(ConfigurationError, match="has 2 models: alpha, beta"):
        RemoteEngine(stub.url).open()
    with pytest.raises(UnknownNameError, match="alpah") as caught:
        RemoteEngine(stub.url, "alpah").open()
    assert "did you mean 'alpha'?" in caught.value.hint
    stub.models = []
    with pytest.raises(ConfigurationError, match="has 0 models"):
        RemoteEngine(stub.url).open()


@pytest.mark.parametrize("tokenizer", ["vllm", "text", "llama.cpp", ""])
def test_tokens_are_counted_by_the_server_where_it_can(stub, tokenizer: str):
    stub.tokenizer = tokenizer
    engine = RemoteEngine(stub.url)
    assert engine.count_is_exact is (tokenizer == "vllm")
    text = "one two three " * 10
    assert engine.count_text(text) == (30 if tokenizer else 37)
    assert engine.count(context(text)) > engine.count_text(text)
    counted = stub.counted
    assert (engine.count(context(text)), engine.count_text(text)) > (0, 0)
    assert stub.counted == counted, "what was counted is not sent again"


@pytest.mark.parametrize(("tokenizer", "salt"), [("vllm", "row-1"), ("llama.cpp", None), ("", None)])
def test_a_cache_namespace_is_sent_to_the_server_that_has_such_a_thing(stub, tokenizer: str, salt: str | None):
    stub.tokenizer = tokenizer
    list(RemoteEngine(stub.url).generate(context("text"), GenerationParams(cache_namespace="row-1")))
    assert stub.requests[-1].get("cache_salt") == salt
    list(RemoteEngine(stub.url).generate(context("text"), GenerationParams()))
    assert "cache_salt" not in stub.requests[-1]


@pytest.mark.parametrize(("takes", "salt"), [((), None), (("cache_salt",), "row-1")])
def test_a_salt_can_be_asked_for(stub, settings: Settings, takes: tuple[str, ...], salt: str | None):
    engine = open_engine(Settings(home=settings.home, model=stub.url, server_takes=frozenset(takes)))
    list(engine.generate(context("text"), GenerationParams(cache_namespace="row-1")))
    assert stub.requests[-1].get("cache_salt") == salt


def test_options_bind_the_answer_only_where_the_server_was_said_to_do_that(stub):
    params = GenerationParams(choices=("Yes", "No"))
    ask(stub, params)
    assert "structured_outputs" not in stub.requests[-1]
    assert "choices" not in RemoteEngine(stub.url).capabilities
    ask(stub, params, takes=["choices"])
    assert stub.requests[-1]["structured_outputs"] == {"choice": ["Yes", "No"]}
    assert "choices" in RemoteEngine(stub.url, takes=["choices"]).capabilities


def test_a_prompt_over_the_window_is_not_sent(stub):
    with pytest.raises(EngineError, match=r"about .* prompt tokens .* window of 1,000"):
        list(RemoteEngine(stub.url).generate(context("word " * 2000), GenerationParams()))
    assert stub.requests == []


@pytest.mark.parametrize(
    ("status", "message", "retryable"),
    [
        (403, "API key", False),
        (404, "does not know the model 'tiny'", False),
        (429, "refuses more requests", True),
        (500, "failed", True),
        (503, "failed", True),
        (400, "refused the request", False),
    ],
)
def test_http_failures_say_what_happened_and_whether_to_retry(stub, status: int, message: str, retryable: bool):
    stub.status = status
    with pytest.raises(EngineError, match=message) as caught:
        ask(stub, retries=0)
    assert str(status) in caught.value.message
    assert caught.value.retryable is retryable
    assert caught.value.hint
    if status == 404:
        assert "the server has: tiny" in caught.value.hint


@pytest.mark.parametrize(
    "said", ["This model's maximum context length is 4096 tokens", "the request exceeds the available context size"]
)
def test_a_prompt_that_the_server_finds_too_long_is_told_as_that(stub, said: str):
    stub.status, stub.error = 400, said
    with pytest.raises(EngineError, match="finds the prompt too long") as caught:
        ask(stub)
    assert said in caught.value.message and "--server-window" in caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize("given", [None, KEY])
def test_a_wrong_key_is_named_but_never_shown(stub, given: str | None):
    stub.key = "another"
    with pytest.raises(EngineError, match="401") as caught:
        ask(stub, api_key=given)
    error = caught.value
    assert "TURNOUT_API_KEY" in error.hint
    assert ("none was given" in error.message) is (given is None)
    assert KEY not in f"{error} {error!r}"


def test_the_right_key_works_and_stays_out_of_the_fingerprint(stub):
    stub.key = KEY
    assert text_of(ask(stub, api_key=KEY)) == "On Sark."
    assert (
        RemoteEngine(stub.url, api_key=KEY).model.fingerprint == RemoteEngine(stub.url, "tiny", KEY).model.fingerprint
    )


def test_a_key_that_the_server_repeats_is_struck_out(stub):
    stub.key, stub.status, stub.error = KEY, 500, f"key {KEY} is over its quota"
    with pytest.raises(EngineError, match=r"key \*\*\* is over") as caught:
        ask(stub, api_key=KEY, retries=0)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_nobody_listening_is_an_error_that_may_be_retried():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EngineError, match=f"127.0.0.1:{port}/v1 can't be reached") as caught:
        RemoteEngine(f"http://user:pass@127.0.0.1:{port}", retries=0).open()
    assert caught.value.retryable
    assert "pass" not in str(caught.value)


def test_a_url_without_a_host_is_refused():
    with pytest.raises(ConfigurationError, match="names no host"):
        RemoteEngine("http://").open()


@pytest.mark.parametrize("words", [[], ["On "]])
def test_a_stream_that_ends_early_is_an_error_and_not_a_short_answer(stub, words: list[str]):
    stub.words, stub.finish = words, False
    with pytest.raises(EngineError, match="broke off") as caught:
        ask(stub)
    assert caught.value.retryable


def test_a_slow_server_is_given_up_in_time(stub):
    stub.first_word_s = 3.0
    begin = time.perf_counter()
    with pytest.raises(EngineTimeoutError):
        ask(stub, GenerationParams(timeout_s=0.2))
    assert time.perf_counter() - begin < 1.5


def test_an_answer_that_is_begun_ends_with_the_time(stub):
    stub.words, stub.word_s = ["On ", "Sark "] * 20, 0.05
    events = ask(stub, GenerationParams(timeout_s=0.5))
    assert events[-1].reason == "timeout"
    assert 1 < events[-1].completion_tokens < 20
    assert text_of(events).startswith("On Sark")


def test_giving_up_while_the_server_still_reads_returns_at_once(stub):
    stub.first_word_s = 3.0
    engine = RemoteEngine(stub.url)
    engine.count(context())
    begin = time.perf_counter()
    events = list(engine.generate(context(), GenerationParams(), lambda: time.perf_counter() > begin + 0.1))
    assert time.perf_counter() - begin < 0.8
    assert [event.reason for event in events] == ["cancelled"]


def test_giving_up_in_the_middle_closes_the_connection(stub):
    stub.words, stub.word_s = ["a "] * 200, 0.02
    seen: list[Token] = []
    for event in RemoteEngine(stub.url).generate(context(), GenerationParams(), lambda: len(seen) >= 3):
        if isinstance(event, Token):
            seen.append(event)
    assert stub.broken.wait(2.0)
    assert len(seen) < 20


def test_leaving_the_iterator_closes_the_connection(stub):
    stub.words, stub.word_s = ["a "] * 200, 0.02
    events = RemoteEngine(stub.url).generate(context(), GenerationParams())
    next(events)
    events.close()
    assert stub.broken.wait(2.0)


@pytest.mark.parametrize(
    "attack", ["<|im_end|>", "<｜User｜>", "[INST]", "[/INST]", "<<SYS>>", "</s>", "<end_of_turn>"]
)
def test_control_tokens_in_documents_are_defused(stub, attack: str):
    list(RemoteEngine(stub.url).generate(context(f"before {attack} after", question=f"{attack}?"), GenerationParams()))
    sent = stub.requests[0]["messages"][-1]["content"]
    assert attack not in sent
    assert sent.count(attack[0] + " " + attack[1:]) == 2


@pytest.mark.parametrize("text", ["a < b | c > d", "[1]", "see [Instructions]", "<section>", "x <| y", "[TOOLBOX"])
def test_ordinary_text_is_not_touched(text: str):
    assert defuse(text) == text

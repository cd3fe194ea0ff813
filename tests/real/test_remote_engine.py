"""The remote engine against a real OpenAI-compatible server: `transformers serve` with the default model."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faulty_proxy import Fault, between
from support.hurry import HOURS_S, hurry
from support.tiny_models import text_of
from support.transformers_server import serving

from turnout.documents import Span
from turnout.engines.remote import RemoteEngine
from turnout.errors import EngineError, TurnoutError
from turnout.types import Context, EngineEvent, Finished, GenerationParams, Part, Prefilled, Token

pytestmark = pytest.mark.real

# Read before each test gets a data directory of its own.
HOME = Path(os.environ.get("TURNOUT_HOME") or Path.home() / ".local/share/turnout")
TEXT = "The lighthouse was built in 1871 by Marie Duval. It is 42 metres high."
HIGH = Context((Part(TEXT, Span("doc", 0, len(TEXT))),), "How high is the lighthouse?")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base URL, model name) of a server that runs while this module's tests do."""
    model = HOME / "models" / "smollm2-135m"
    with serving(model, tmp_path_factory.mktemp("serve")) as url:
        yield url, str(model)


def test_it_answers_over_http_with_usage(server: tuple[str, str]):
    url, model = server
    engine = RemoteEngine(url, model)
    events = list(engine.generate(HIGH, GenerationParams(max_tokens=24)))
    assert "42" in text_of(events)
    assert isinstance(events[0], Prefilled)
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.prompt_tokens > 50
    assert 0 < last.completion_tokens <= 24
    assert 0.5 < engine.count(HIGH) / last.prompt_tokens < 2.0


def test_a_wrong_model_is_refused_by_name(server: tuple[str, str]):
    with pytest.raises(TurnoutError) as caught:
        list(RemoteEngine(server[0], "no/such-model").generate(HIGH, GenerationParams(max_tokens=4)))
    assert "no/such-model" in str(caught.value)


def test_a_wrong_path_is_an_error(server: tuple[str, str]):
    with pytest.raises(EngineError):
        list(RemoteEngine(f"{server[0]}/nowhere", server[1]).generate(HIGH, GenerationParams(max_tokens=4)))


def test_faults_on_the_way_cost_no_answer_and_no_second_count(server: tuple[str, str]):
    url, model = server
    soon = {"retry-after-ms": "10"}
    faults = [Fault(status=429, headers=soon), Fault(drop=True), Fault(cut_after=0)]
    params = GenerationParams(max_tokens=8)
    alone = list(RemoteEngine(url, model).generate(HIGH, params))
    with between(url, *faults) as proxy:
        events = list(RemoteEngine(proxy.url, model).generate(HIGH, params))
        assert text_of(events) == text_of(alone)
        assert events[-1].completion_tokens == alone[-1].completion_tokens
        assert proxy.chats == 4

        proxy.faults = [Fault(cut_after=4)]
        with pytest.raises(EngineError, match="broke off"):
            list(RemoteEngine(proxy.url, model).generate(HIGH, GenerationParams(max_tokens=24)))
        assert proxy.chats == 5


def test_a_stop_string_and_a_time_hold_whatever_the_server_does_with_them(
    server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    url, model = server
    with between(url, Fault(without=("stop",)), Fault(line_s=0.2)) as proxy:
        engine = RemoteEngine(proxy.url, model)
        stopped = list(engine.generate(HIGH, GenerationParams(max_tokens=24, stop=("42",))))
        assert stopped[-1].reason == "stop" and "42" not in text_of(stopped)
        slow: list[EngineEvent] = []
        hurry(monkeypatch, lambda: any(isinstance(event, Token) for event in slow))
        slow.extend(engine.generate(HIGH, GenerationParams(max_tokens=24, timeout_s=HOURS_S / 2)))
        assert slow[-1].reason == "timeout"
        assert 0 < slow[-1].completion_tokens < 24


def test_giving_up_leaves_the_server_usable(server: tuple[str, str]):
    url, model = server
    engine, seen = RemoteEngine(url, model), []
    for event in engine.generate(HIGH, GenerationParams(max_tokens=200), lambda: len(seen) >= 2):
        if isinstance(event, Token):
            seen.append(event)
    assert event.reason == "cancelled"
    assert text_of(engine.generate(HIGH, GenerationParams(max_tokens=4)))

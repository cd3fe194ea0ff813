"""The remote engine against a real OpenAI-compatible server: `transformers serve` with the default model."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import questions as towns
from support.embedders import WordEmbedder
from support.faulty_proxy import Fault, between
from support.hurry import HOURS_S, hurry
from support.tiny_models import text_of

from turnout import evaluate
from turnout.engines.remote import RemoteEngine
from turnout.errors import EngineError, TurnoutError
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.report_text import terminal
from turnout.router.evaluation.rows import read_run
from turnout.types import Context, EngineEvent, Finished, GenerationParams, Part, Prefilled, Span, Token

pytestmark = pytest.mark.real

START_S = 120.0
# Read before each test gets a data directory of its own.
HOME = Path(os.environ.get("TURNOUT_HOME") or Path.home() / ".local/share/turnout")
TEXT = "The lighthouse was built in 1871 by Marie Duval. It is 42 metres high."
HIGH = Context((Part(TEXT, Span("doc", 0, len(TEXT))),), "How high is the lighthouse?")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base URL, model name) of a server that runs while this module's tests do."""
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.fail("the command `transformers` is missing: it comes with the extra `local`")
    model = str(HOME / "models" / "smollm2-135m")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("serve")
    log = folder / "log"
    # It lists what the Hub's cache holds, and fails where there is no cache.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder), "OMP_NUM_THREADS": "2"}
    with log.open("wb") as output:
        command = [program, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


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


@pytest.mark.slow
def test_the_routers_own_evaluation_runs_over_a_server(server: tuple[str, str], tmp_path: Path):
    url, model = server
    questions, documents = towns.towns(tmp_path / "data", count=1, filler=2)
    out = tmp_path / "out"
    evaluate.run(
        [questions],
        [documents],
        out,
        strategies=["router", "full", "rag", "extract"],
        limit=1,
        embedder=WordEmbedder(),
        model=url,
        model_name=model,
    )
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert {row["strategy"] for row in rows} == {"router", "full", "rag", "extract"}
    assert all(row["error"] is None and row["usage"]["completion_tokens"] > 0 for row in rows)
    assert any("extract" in line for line in terminal(figures(read_run(out))))


def test_giving_up_leaves_the_server_usable(server: tuple[str, str]):
    url, model = server
    engine, seen = RemoteEngine(url, model), []
    for event in engine.generate(HIGH, GenerationParams(max_tokens=200), lambda: len(seen) >= 2):
        if isinstance(event, Token):
            seen.append(event)
    assert event.reason == "cancelled"
    assert text_of(engine.generate(HIGH, GenerationParams(max_tokens=4)))

"""Back-pressure: what a server, and a key, take at once; and how a server ends."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from support.library import BOOK
from support.served import PLAIN, Served, served, until

from turnout import Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import EngineBusyError, EngineError, EngineTimeoutError
from turnout.server.gate import Gate
from turnout.tokens import Tokens
from turnout.types import EngineEvent

BODY = {"question": "Who repaired the lighthouse lamp?", "documents": [{"text": BOOK}]}


def test_a_request_over_the_limit_is_refused_by_what_it_says_and_by_what_comes(server: Served) -> None:
    with server.http() as http:
        large = http.post("/v1/ask", json={"question": "x" * (1 << 20)})
        chunked = http.post(
            "/v1/ask", content=(b"x" * 65536 for _ in range(40)), headers={"content-type": "application/json"}
        )
    for reply in (large, chunked):
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "request_too_large"


def test_a_key_makes_so_many_requests_a_minute(server: Served) -> None:
    with server.http(server.token("few", "acme", per_minute=2)) as http:
        replies = [http.get("/v1/documents") for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert 1 <= int(replies[2].headers["retry-after"]) <= 30
    assert replies[2].json()["error"]["code"] == "rate_limit_exceeded"


def together(server: Served, key: str, count: int) -> list[httpx.Response]:
    replies: list[httpx.Response] = []
    start = threading.Barrier(count)

    def ask() -> None:
        with server.http(key) as http:
            start.wait()
            replies.append(http.post("/v1/ask", json=BODY))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def test_more_questions_than_may_be_in_flight_are_told_to_come_again(tmp_path: Path) -> None:
    with served(Turnout(engine=FakeEngine(token_s=0.05), home=tmp_path), tmp_path, max_questions=2) as server:
        key = server.token("many", "acme")
        replies = together(server, key, 5)
        assert sorted({reply.status_code for reply in replies}) == [200, 429]
        assert sum(reply.status_code == 200 for reply in replies) >= 2
        assert all(int(r.headers["retry-after"]) >= 1 for r in replies if r.status_code == 429)
        single = together(server, server.token("single", "acme", at_once=1), 2)
        assert sorted(reply.status_code for reply in single) == [200, 429]
        with server.http(key) as http:  # every place is free again
            assert http.post("/v1/ask", json=BODY).status_code == 200


class Busy(FakeEngine):
    """Takes no request."""

    def generate(self, *_: object) -> Iterator[EngineEvent]:
        raise EngineBusyError("fake", 5, 5, 2.2)


def complete(server: Served, **options: object) -> None:
    http = httpx.Client(**PLAIN)
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, http_client=http) as client:
        over = {"turnout": {"documents": [{"text": BOOK}]}}
        asked = [{"role": "user", "content": "Who?"}]
        reply = client.chat.completions.create(model="turnout", messages=asked, extra_body=over, **options)
        if options.get("stream"):
            list(reply)


def test_an_engine_that_is_busy_is_429_with_a_pause(tmp_path: Path) -> None:
    with served(Turnout(engine=Busy(), home=tmp_path), tmp_path) as server:
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as caught:
                complete(server, stream=stream)
            assert caught.value.response.headers["retry-after"] == "3"


def test_what_fails_once_a_stream_has_begun_is_said_in_it(tmp_path: Path) -> None:
    engine = FakeEngine(failure=EngineTimeoutError("too slow", hint="allow more time"))
    with (
        served(Turnout(engine=engine, home=tmp_path), tmp_path) as server,
        pytest.raises(openai.APIError, match="too slow"),
    ):
        complete(server, stream=True)


def test_an_engine_that_fails_names_no_more_than_that(tmp_path: Path) -> None:
    engine = FakeEngine(failure=EngineError("out of luck at /srv/models/x"))
    with served(Turnout(engine=engine, home=tmp_path), tmp_path) as server, server.http() as http:
        reply = http.post("/v1/ask", json=BODY)
    assert reply.status_code == 500
    assert "/srv" not in reply.text


def test_a_client_that_goes_away_stops_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine(token_s=1.0)  # the whole answer would take over 10 s
    with served(Turnout(engine=engine, home=tmp_path), tmp_path) as server:
        for stream in (False, True):
            body = BODY | {"stream": stream}
            with (
                server.http() as http,
                pytest.raises(httpx.ReadTimeout),
                http.stream("POST", "/v1/ask", json=body, timeout=0.4) as reply,
            ):
                list(reply.iter_raw())
            until(lambda: "turnout_questions 0.0" in httpx.get(f"{server.url}/metrics", **PLAIN).text, 8)


def test_answers_that_have_begun_end_before_the_server_does(tmp_path: Path) -> None:
    replies: list[httpx.Response] = []
    with served(Turnout(engine=FakeEngine(token_s=0.1), home=tmp_path), tmp_path) as server:
        asking = threading.Thread(target=lambda: replies.extend(together(server, "", 1)))
        asking.start()
        until(lambda: "turnout_questions 1.0" in httpx.get(f"{server.url}/metrics", **PLAIN).text)
        server.server.should_exit = True
        with pytest.raises(httpx.TransportError):
            while True:
                httpx.get(f"{server.url}/health", **PLAIN)
                time.sleep(0.01)
        asking.join()
    assert replies[0].status_code == 200
    assert "Marta" in replies[0].json()["text"]


def test_the_pause_follows_how_long_questions_take() -> None:
    gate = Gate("fake", 1)
    with gate.question(None), pytest.raises(EngineBusyError) as caught, gate.question(None):
        pass
    assert caught.value.retry_after_s == pytest.approx(2.0)
    for _ in range(40):
        with gate.question(None):
            pass
    assert gate.mean_s < 0.1
    assert gate.going == 0


def test_a_server_that_others_reach_needs_a_token(home: Path) -> None:
    from turnout.errors import ConfigurationError
    from turnout.server.options import Options
    from turnout.server.run import serve

    with Turnout(engine=FakeEngine()) as t, pytest.raises(ConfigurationError, match="can be reached by others"):
        serve(t, Options(host="0.0.0.0", port=0), lambda url, count: None)  # noqa: S104


def test_a_ledger_has_every_answer_that_was_given(tmp_path: Path) -> None:
    turnout = Turnout(engine=FakeEngine(), home=tmp_path)
    turnout.add(Text(BOOK, "book.md"), collection="acme")
    with served(turnout, tmp_path) as server:
        ids = {reply.json()["id"] for reply in together(server, server.token("t", "acme"), 6)}
    with Turnout(engine=FakeEngine(), home=tmp_path) as after, Tokens.open(home=tmp_path) as tokens:
        assert {entry.id for entry in after.log(collection="acme")} == ids
        assert [token.name for token in tokens.list()] == ["t"]

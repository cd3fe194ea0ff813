"""A model on a server, as a user asks it: what is said of the server, and what goes wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faulty_proxy import Fault, between
from support.library import BOOK
from support.openai_stub import Stub, serve

QUESTION = "Who repaired the lighthouse lamp?"
SOON = {"retry-after-ms": "5"}


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve(Stub(models=[{"id": "tiny", "max_model_len": 4000}], words=["Marta ", "Lindqvist"])) as server:
        yield server


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.md"
    path.write_text(BOOK, encoding="utf-8")
    return str(path)


def test_what_is_said_of_a_server_reaches_it(turnout: Callable[..., Any], stub: Stub, book: str) -> None:
    flags = ("--model", stub.url, "--server-takes", "cache_salt", "--cache-namespace", "acme")
    assert turnout("ask", book, QUESTION, *flags).code == 0
    assert stub.requests[-1]["cache_salt"] == "acme"
    small = turnout("ask", book, QUESTION, "--model", stub.url, "--server-window", "60")
    assert small.code == 1
    assert "> 60" in small.err, "no strategy is inside the window"


def test_how_often_a_server_is_asked_again_is_the_users(turnout: Callable[..., Any], stub: Stub, book: str) -> None:
    for retries, code in (("0", 1), ("4", 0)):
        with between(stub.url, *[Fault(status=503, headers=SOON)] * 4) as proxy:
            asked = turnout("ask", book, QUESTION, "--model", proxy.url, "--server-retries", retries)
            assert (asked.code, proxy.chats) == (code, 1 + int(retries))
    assert "HTTP 503" not in asked.err


def test_a_server_that_says_nothing_is_given_up(turnout: Callable[..., Any], stub: Stub, book: str) -> None:
    stub.first_word_s = 30.0
    asked = turnout("ask", book, QUESTION, "--model", stub.url, "--server-timeout-s", "0.5")
    assert asked.code == 1
    assert "sent nothing for 0.5 s" in asked.err and "hint: " in asked.err


@pytest.mark.parametrize(
    ("spoil", "flags", "code", "said", "hint"),
    [
        ({"key": "another"}, (), 1, "wants an API key", "TURNOUT_API_KEY"),
        ({}, ("--model-name", "tinny"), 2, "'tinny'", "did you mean 'tiny'?"),
        ({"status": 404}, (), 1, "does not know the model 'tiny'", "the server has: tiny"),
        ({"finish": False}, (), 1, "broke off", "what came of it is not counted"),
        ({"page": True}, (), 1, "something else than a list of models", "/v1"),
    ],
)
def test_what_goes_wrong_is_an_error_with_a_hint_and_not_in_the_ledger(
    turnout: Callable[..., Any],
    stub: Stub,
    book: str,
    spoil: dict[str, Any],
    flags: tuple[str, ...],
    code: int,
    said: str,
    hint: str,
) -> None:
    for name, value in spoil.items():
        setattr(stub, name, value)
    asked = turnout("ask", book, QUESTION, "--model", stub.url, "--server-retries", "0", *flags)
    assert asked.code == code
    assert asked.out == ""
    assert said in asked.err and hint in asked.err.partition("hint: ")[2]
    assert turnout("log").out == "", "nothing is counted that came to nothing"


def test_doctor_says_what_the_server_says_and_what_is_made_of_it(turnout: Callable[..., Any], stub: Stub) -> None:
    stub.tokenizer = "vllm"
    flags = ("--server-retries", "5", "--server-timeout-s", "30", "--cache-namespace", "acme")
    lines = turnout("doctor", "--model", stub.url, *flags).out.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("server "))
    assert lines[at] == "server   tiny  window 4,000 (as it says)  tokens exact  takes cache_salt"
    assert lines[at + 1].strip().split("  ") == [
        "given up after 30 s of silence", "5 retries", "API key none", "prompts under a cache namespace",
    ]  # fmt: skip
    assert "acme" not in "\n".join(lines), "whoever knows a salt can look for what was asked under it"
    stub.tokenizer, stub.models = "", [{"id": "tiny"}]
    assert (
        "tiny  window 8,192 (the server does not say)  tokens estimated  takes no other fields"
        in turnout("doctor", "--model", stub.url).out
    )
    set_here = turnout("doctor", "--model", stub.url, "--server-window", "777", "--server-takes", "choices").out
    assert "window 777 (as it is set; the server does not say)" in set_here and "takes choices" in set_here


def test_doctor_finds_a_server_that_is_not_there(turnout: Callable[..., Any], stub: Stub) -> None:
    stub.key = "another"
    found = turnout("doctor", "--model", stub.url)
    assert found.code == 1
    assert "server   does not answer" in found.out
    assert "wants an API key and none was given (HTTP 401) (set TURNOUT_API_KEY)" in found.out

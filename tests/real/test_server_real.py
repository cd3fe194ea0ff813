"""The server as a process: on the default model through OpenAI's client, and how it ends."""

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from support.process import TURNOUT

BOOK = (
    "The harbour office keeps a record of every ship. Rain fell on the slate roofs for most of the week.\n\n"
    "In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal. Two carts of coal arrived."
)
QUESTION = "Who repaired the lighthouse lamp in 1893?"


@contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address; what it says besides is read and dropped."""
    command = [str(TURNOUT), "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr or ():
                if found := re.search(r"listening on (\S+)/v1", line):
                    threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
                    yield process, found.group(1)
                    break
        finally:
            process.kill()


@pytest.mark.real
@pytest.mark.slow
def test_the_default_model_answers_alike_streamed_and_whole(real_home: Path) -> None:
    over = {"turnout": {"documents": [{"text": BOOK, "title": "harbour.md"}]}}
    asked = {"model": "turnout", "messages": [{"role": "user", "content": QUESTION}], "extra_body": over}
    with server() as (_, url), OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Marta Lindqvist" in text
    assert text == whole.choices[0].message.content
    last = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
    assert last.turnout["citations"] == whole.turnout["citations"]
    assert whole.turnout["citations"][0]["title"] == "harbour.md"
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.slow
def test_sigterm_lets_an_answer_end(home: Path) -> None:
    body = {"question": QUESTION, "documents": [{"text": BOOK * 400}]}
    replies: list[httpx.Response] = []
    with server("--model", "fake", "--drain-s", "20") as (process, url):
        asking = threading.Thread(target=lambda: replies.append(httpx.post(f"{url}/v1/ask", json=body, timeout=60)))
        asking.start()
        while "turnout_questions 1.0" not in httpx.get(f"{url}/metrics").text and not replies:
            pass
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert replies[0].status_code == 200
    assert "Marta" in replies[0].json()["text"]

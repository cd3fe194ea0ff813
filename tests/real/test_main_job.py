"""The main job on the default models, as a user runs it."""

import gzip
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.documents import pdf
from support.process import TURNOUT, turnout

SHARED = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.real

# Short and plain: what is tested is the way of a question, not how much a small model can hold in mind.
HARBOUR = """# The harbour

The harbour office keeps a record of every ship. Its clerk writes the names in blue ink. Rain fell on the slate roofs
for most of the week. The market opened late because of the wind.

In 1893 Marta Lindqvist repaired the lighthouse lamp with parts from a railway signal. Two carts of coal arrived.

The ferry to Osterholm costs four crowns on Sundays. A dog slept under the customs table.
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "harbour.md"
    path.write_text(HARBOUR, encoding="utf-8")
    return path


def test_ask_a_file_then_again_then_explain(real_home: Path, book: Path) -> None:
    first = turnout("ask", str(book), "Who repaired the lighthouse lamp in 1893?")
    assert first.code == 0, first.err
    assert "Marta Lindqvist" in first.out
    assert "[1] harbour.md l.6" in first.out
    assert "small demonstration model" in first.err
    assert "--model" in first.err
    second = turnout("ask", str(book), "Who repaired the lighthouse lamp in 1893?", "--json")
    answer = json.loads(second.out)
    assert answer["text"] in first.out
    explained = turnout("explain", answer["id"])
    assert "measured" in explained.out
    assert answer["model"]["profile"] in explained.out
    assert answer["decision"]["candidates"][0]["memory_bytes"] > 250e6


def test_prompt_tokens_of_full_are_predicted_exactly(real_home: Path, book: Path) -> None:
    answer = json.loads(turnout("ask", str(book), "What does the ferry cost?", "--strategy", "full", "--json").out)
    assert answer["decision"]["candidates"][0]["prompt_tokens"] == answer["usage"]["prompt_tokens"]


def test_a_pdf_is_cited_by_page_and_line(real_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf("First page about tides and boats.", "The keeper of the lighthouse is Marta Lindqvist."))
    ran = turnout("ask", str(path), "Who is the keeper of the lighthouse?")
    assert ran.code == 0, ran.err
    assert "Marta Lindqvist" in ran.out
    assert "report.pdf p.2 l.1" in ran.out


@pytest.mark.slow
def test_both_strategies_answer_over_the_same_file(real_home: Path, book: Path) -> None:
    for strategy in ("full", "rag"):
        ran = turnout("ask", str(book), "Who repaired the lighthouse lamp in 1893?", "--strategy", strategy, "--json")
        answer = json.loads(ran.out)
        assert "Lindqvist" in answer["text"]
        assert answer["decision"]["chosen"] == strategy
        assert any("Lindqvist" in citation["quote"] for citation in answer["citations"])


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("characters", "tokens"), [(100_000, 20_000), (None, 100_000)])
def test_a_book_over_the_window_in_bounded_memory(
    real_home: Path, tmp_path: Path, characters: int | None, tokens: int
) -> None:
    with gzip.open(SHARED / "dev/documents/lara.jsonl.gz", "rt", encoding="utf-8") as lines:
        longest = max(map(json.loads, lines), key=lambda document: document["n_chars"])
    path = tmp_path / "book.txt"
    path.write_text(longest["text"][:characters], encoding="utf-8")
    ran = turnout("ask", str(path), "What is this document about?", "--json", timeout_s=290)
    assert ran.code in (0, 3), ran.err
    answer = json.loads(ran.out)
    full = next(c for c in answer["decision"]["candidates"] if c["strategy"] == "full")
    assert full["excluded_by"]["limit"] == "window"
    assert full["excluded_by"]["needed"] > tokens
    assert "full needs" in ran.err
    assert ran.peak_bytes < 2.5 * 2**30


@pytest.mark.parametrize("after_s", [0.3, 1.5, 3.0])
def test_ctrl_c_ends_within_a_third_of_a_second(real_home: Path, book: Path, after_s: float) -> None:
    with subprocess.Popen(
        [TURNOUT, "ask", str(book), "Who repaired the lamp?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        time.sleep(after_s)
        if process.poll() is not None:
            pytest.fail("the answer came before the interrupt: the test needs shorter waits")
        process.send_signal(signal.SIGINT)
        started = time.perf_counter()
        process.communicate(timeout=10)
        assert time.perf_counter() - started < 0.3
    assert process.returncode == -signal.SIGINT
    assert turnout("ls").code == 0, "the data directory is whole"

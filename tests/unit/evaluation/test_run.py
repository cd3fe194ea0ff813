"""A run: every question has a row for every strategy, and neither kills nor order nor a second run change them."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support import questions as towns
from support.embedders import WordEmbedder

from turnout import Budget, evaluate
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, EngineError, StoreError, UnknownNameError
from turnout.router.evaluation import runner
from turnout.types import Context

ROWS = ["router", "full", "rag", "closed", "self_route"]


def run(files: tuple[Path, Path], out: Path, engine: FakeEngine | None = None, **options: Any) -> list[dict[str, Any]]:
    questions, documents = files
    evaluate.run(
        [questions],
        [documents],
        out,
        engine=engine or FakeEngine(),
        embedder=WordEmbedder(),
        **options,
    )
    return rows_of(out)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def unmeasured(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what is measured: seconds and bytes."""
    kept = copy.deepcopy(list(rows))
    for row in kept:
        row.pop("decide_s", None)
        for name in [n for n in row["usage"] if n.endswith(("_s", "_bytes")) or n == "cost"]:
            del row["usage"][name]
        for attempt in row["usage"].get("attempts", []):
            attempt.pop("total_s")
    return kept


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return towns.towns(tmp_path / "data")


def test_every_question_has_a_row_for_every_strategy_in_order(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = run(files, tmp_path / "out")

    asked = [f"towns-{n}" for n in range(4)] + ["towns-none-0"]
    assert [(row["question_id"], row["strategy"]) for row in rows] == [(q, name) for q in asked for name in ROWS]
    assert all(row["error"] is None and row["decision_id"] for row in rows)
    first = rows[1]
    assert (first["strategy"], first["score"], first["metric"]) == (
        "full",
        0.25,
        "f1",
    )  # bridge of arle was built in 1801: 2 * 1/7 / (1/7 + 1)
    # The fake engine quotes nothing: the sentence was matched to its answer.
    assert first["citations"] == {"given": 1, "found": 1, "supported": 1, "quoted": 0, "quoted_found": 0,
                                  "quoted_supported": 0}  # fmt: skip


def test_score_of_the_answers_own_words(files: tuple[Path, Path], tmp_path: Path) -> None:
    engine = FakeEngine({"When was the bridge of Arle built?": "1801"})  # anything else: the refusal sentence
    by_key = {(row["question_id"], row["strategy"]): row for row in run(files, tmp_path / "out", engine)}
    assert by_key["towns-0", "full"]["metrics"] == {"em": 1.0, "f1": 1.0}
    assert by_key["towns-1", "full"]["abstained"]
    assert by_key["towns-1", "full"]["score"] == 0.0
    assert by_key["towns-none-0", "rag"]["score"] == 1.0


def test_two_runs_differ_only_in_seconds_and_bytes(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert unmeasured(run(files, tmp_path / "a")) == unmeasured(run(files, tmp_path / "b"))


@pytest.mark.parametrize("cache", ["cold", "session"])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_killed_run_goes_on_to_the_rows_of_an_unbroken_one(
    files: tuple[Path, Path], tmp_path: Path, cache: str, after: int
) -> None:
    class Killed(BaseException):
        pass

    calls = 0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += stage == "evaluating"
        if calls == after:
            raise Killed

    unbroken = run(files, tmp_path / "a", engine("prefix_cache"), cache=cache)
    with pytest.raises(Killed):
        run(files, tmp_path / "b", engine("prefix_cache"), cache=cache, progress=progress)
    with (tmp_path / "b" / "rows.jsonl").open("a") as file:
        file.write('{"question_id": "towns-3", "strategy": "fu')  # half a line, as a kill leaves it
    second = engine("prefix_cache")
    resumed = run(files, tmp_path / "b", second, cache=cache)
    assert unmeasured(resumed) == unmeasured(unbroken)
    if cache == "cold":
        assert len(second.contexts) < 1 + 3 * 5  # warm-up and all rows: what was there was not run again


@pytest.mark.slow
def test_a_process_killed_without_warning_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    many = [towns.question(n % 6) | {"id": f"towns-{n}"} for n in range(120)]
    files = towns.write(tmp_path / "data", many, [towns.document(n) for n in range(6)])
    arguments = ["eval", "run", "--model", "fake", "-q", str(files[0]), "-d", str(files[1]), "-o"]
    rows = tmp_path / "killed/rows.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "turnout.cli.main", *arguments, str(tmp_path / "killed")])
    while process.poll() is None and (not rows.exists() or rows.read_bytes().count(b"\n") < 40):
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = rows.read_bytes()
    assert 40 <= left.count(b"\n") < 600, "killed in the middle"
    for name in ("killed", "whole"):
        subprocess.run([sys.executable, "-m", "turnout.cli.main", *arguments, str(tmp_path / name)], check=True)
    assert unmeasured(rows_of(tmp_path / "killed")) == unmeasured(rows_of(tmp_path / "whole"))
    # What was measured before the kill is still there, seconds and all.
    assert set(left.split(b"\n")[:40]) <= set(rows.read_bytes().split(b"\n"))


def test_a_finished_run_runs_nothing_again(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = run(files, tmp_path / "out")
    engine = FakeEngine()
    assert run(files, tmp_path / "out", engine) == before
    assert engine.contexts == []


def engine(*capabilities: str) -> FakeEngine:
    return FakeEngine(capabilities=frozenset(capabilities))


@pytest.mark.parametrize("cache", ["cold", "session"])
def test_the_order_of_strategies_changes_nothing(tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = towns.towns(tmp_path / "data", filler=80)  # towns-0 and towns-none-0 share a document
    results = []
    for name, order in (("a", ROWS), ("b", ["closed", "rag", "full", "self_route", "router"])):
        monkeypatch.setattr(runner, "choose", lambda *_, order=order: order)
        results.append(run(files, tmp_path / name, engine("prefix_cache"), cache=cache))
    first, second = ({(r["question_id"], r["strategy"]): r for r in rows} for rows in map(unmeasured, results))
    assert first == second
    cached = {r["strategy"]: r["usage"]["cached_tokens"] for r in results[0] if r["question_id"] == "towns-none-0"}
    assert (cached["full"] > 0) == (cache == "session")  # the same document was read before, by full itself
    assert cached["closed"] == 0


def test_full_is_cut_in_the_middle_where_that_is_asked_for_and_says_so(tmp_path: Path) -> None:
    files = towns.towns(tmp_path / "data", filler=200)
    small = FakeEngine(window=1024)
    made = run(files, tmp_path / "out", small, over_window="cut")
    rows = {(row["question_id"], row["strategy"]): row for row in made}
    full = rows["towns-0", "full"]
    assert full["truncated"]
    assert full["context_tokens"] > 1024
    assert 900 < full["usage"]["prompt_tokens"] <= 1024 - 48
    assert rows["towns-0", "router"]["chosen"] == "rag"
    assert not rows["towns-0", "rag"]["truncated"]
    text = towns.document(0, 200)["text"]
    whole = next(c for c in small.contexts if len(c.parts) == 2)
    assert text.startswith(whole.parts[0].text)
    assert text.endswith(whole.parts[1].text)


@pytest.fixture
def long_and_short(tmp_path: Path) -> tuple[Path, Path]:
    """towns-0 and towns-1 over documents that a window of 1,024 does not hold, towns-2 and towns-3 over short ones."""
    documents = [towns.document(n, 200 if n < 2 else 12) for n in range(4)]
    return towns.write(tmp_path / "mixed", [towns.question(n) for n in range(4)], documents)


def test_what_is_too_long_for_full_is_left_out_with_the_reason(
    long_and_short: tuple[Path, Path], tmp_path: Path
) -> None:
    small = FakeEngine(window=1024)
    made = run(long_and_short, tmp_path / "out", small)
    rows = {(row["question_id"], row["strategy"]): row for row in made}
    full = rows["towns-0", "full"]
    assert full["left_out"] == {"limit": "window", "allowed": 1024, "needed": full["context_tokens"] + 48}
    assert (full["score"], full["error"], full["truncated"], full["usage"]) == (None, None, False, {})
    assert len(small.contexts) == 1 + 4 + 4 + 2, "warm-up, rag and closed for all, full for two: nothing was cut"
    # The router takes what it would take from a user; Self-Route has nobody to ask again.
    for name in ("router", "self_route"):
        assert rows["towns-0", name]["answer"] == rows["towns-0", "rag"]["answer"]
        assert "left_out" not in rows["towns-0", name]
    assert "left_out" not in rows["towns-2", "full"]
    assert json.loads((tmp_path / "out/run.json").read_text())["left_out"] == {"full": {"window": 2}}
    again = FakeEngine(window=1024)
    assert run(long_and_short, tmp_path / "out", again) == made
    assert again.contexts == [], "what was left out is not tried again"


def test_the_report_counts_what_was_left_out_and_compares_over_the_rest(
    long_and_short: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(long_and_short, out, FakeEngine(window=1024))
    report = evaluate.report(out, with_page=False)["figures"]
    by_name = {entry["name"]: entry for entry in report["strategies"]}
    assert (report["questions"], report["left_out"], report["best_single"]) == (4, 0, "rag")
    assert {name: entry["questions"] for name, entry in by_name.items() if entry["questions"] < 4} == {"full": 2}
    assert by_name["full"]["left_out"] == {"window": 2}
    lines = evaluate.report_lines(report)
    assert "full        left out of 2 of 4 questions, too long for the window 2; its figures are of the others" in lines
    assert evaluate.compare(f"{out}:router", f"{out}:full")["questions"] == 2
    assert evaluate.compare(f"{out}:router", f"{out}:rag")["questions"] == 4


@pytest.mark.parametrize("over_window", ["leave-out", "cut"])
def test_max_prompt_tokens_bounds_every_strategy(tmp_path: Path, over_window: str) -> None:
    files = towns.towns(tmp_path / "data", filler=200)
    rows = run(files, tmp_path / "out", budget=Budget(max_prompt_tokens=600), over_window=over_window)
    for row in rows:
        if row["strategy"] != "self_route" and "left_out" not in row:  # two calls
            assert row["usage"]["prompt_tokens"] <= 600
    limits = {row["left_out"]["limit"] for row in rows if "left_out" in row}
    assert limits == ({"max_prompt_tokens"} if over_window == "leave-out" else set())


def test_what_becomes_of_long_questions_is_part_of_a_run(long_and_short: tuple[Path, Path], tmp_path: Path) -> None:
    run(long_and_short, tmp_path / "out", FakeEngine(window=1024))
    with pytest.raises(ConfigurationError, match="over_window 'leave-out', not 'cut'"):
        run(long_and_short, tmp_path / "out", FakeEngine(window=1024), over_window="cut")
    with pytest.raises(UnknownNameError, match="over_window 'cutt'"):
        run(long_and_short, tmp_path / "other", over_window="cutt")
    # A run of an earlier version, which always cut, goes on as one.
    run(long_and_short, tmp_path / "old", FakeEngine(window=1024), over_window="cut")
    facts = json.loads((tmp_path / "old/run.json").read_text())
    del facts["over_window"]
    (tmp_path / "old/run.json").write_text(json.dumps(facts))
    again = FakeEngine(window=1024)
    run(long_and_short, tmp_path / "old", again, over_window="cut")
    assert again.contexts == []


def test_a_budget_that_the_router_cannot_keep_costs_only_the_routers_row(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = run(files, tmp_path / "out", budget=Budget(max_ttft_s=1e-9))
    assert not any(row["error"] for row in rows)
    refused = [row for row in rows if "refused" in row]
    assert {row["strategy"] for row in refused} == {"router"}
    assert "no strategy is inside the limits" in refused[0]["refused"]
    assert (refused[0]["score"], refused[0]["chosen"]) == (0.0, None)


def test_self_route_counts_the_call_that_declined(files: tuple[Path, Path], tmp_path: Path) -> None:
    def reply(context: Context) -> str:
        # Declines over passages, answers over the whole text.
        read = sum(len(part.text) for part in context.parts)
        return "1801" if read > 10_000 else "Not in the text."

    files = towns.towns(tmp_path / "data", count=1, filler=400)
    rows = {r["strategy"]: r for r in run(files, tmp_path / "out", FakeEngine(reply, window=20_000))[:5]}
    full, rag, both = rows["full"]["usage"], rows["rag"]["usage"], rows["self_route"]["usage"]
    assert rows["self_route"]["answer"] == "1801"
    for name in ("prompt_tokens", "total_s", "cost", "completion_tokens", "index_s"):
        assert both[name] == pytest.approx(rag[name] + full[name])
    assert both["ttft_s"] == pytest.approx(rag["total_s"] + full["ttft_s"])
    assert both["attempts"][0]["declined"]


def test_self_route_falls_back_more_where_retrieval_is_worse(tmp_path: Path) -> None:
    def reply(context: Context) -> str:
        town = next((town for town in towns.TOWNS if town in context.question), "")
        fact = f"The bridge of {town} was built in "
        text = " ".join(part.text for part in context.parts)
        return text.split(fact)[1][:4] if fact in text else "Not in the text."

    class Blind(WordEmbedder):
        """Finds every text equally near, so that passages come in no useful order."""

        def embed(self, texts: Sequence[str], progress: Any = None) -> Any:
            return super().embed(["same"] * len(texts), progress)

    questions, documents = towns.towns(tmp_path / "data", filler=400)
    fallbacks = {}
    for name, embedder in (("good", WordEmbedder()), ("blind", Blind())):
        asked = [json.loads(line) for line in questions.read_text().splitlines()]
        if name == "blind":  # and no word of the question helps
            reworded = [q | {"question": q["question"].replace("bridge", "crossing")} for q in asked]
            questions.write_text("".join(json.dumps(q) + "\n" for q in reworded))
        evaluate.run(
            [questions],
            [documents],
            tmp_path / name,
            strategies=["self_route"],
            engine=FakeEngine(reply, window=30_000),
            embedder=embedder,
        )
        fallbacks[name] = sum(
            bool(row["usage"]["attempts"])
            for row in rows_of(tmp_path / name)
            if row["strategy"] == "self_route" and row["answer_type"] == "extractive"
        )
    assert fallbacks["good"] == 0
    assert fallbacks["blind"] >= 3


def test_one_engine_serves_two_runs_and_neither_warms_the_other(files: tuple[Path, Path], tmp_path: Path) -> None:
    shared = engine("prefix_cache")
    for cache in ("cold", "session"):
        first = run(files, tmp_path / f"{cache}-a", shared, cache=cache)
        assert unmeasured(run(files, tmp_path / f"{cache}-b", shared, cache=cache)) == unmeasured(first)


def test_an_option_named_is_an_answer_in_any_words(tmp_path: Path) -> None:
    asked = towns.question(0) | {
        "answer_type": "choice",
        "choices": ["Entailment", "Contradiction", "Not mentioned in the text"],
        "answers": ["Not mentioned in the text"],
    }
    files = towns.write(tmp_path / "data", [asked], [towns.document(0)])
    for number, reply in enumerate(("Option C", "The correct choice is: Not mentioned in the text.", "C")):
        rows = run(files, tmp_path / f"out{number}", FakeEngine([reply]), strategies=["full"])
        assert (rows[0]["score"], rows[0]["abstained"]) == (1.0, False), reply


def test_evidence_stays_in_place_where_line_ends_are_unified(tmp_path: Path) -> None:
    document = towns.document(0)
    text = "First line.\r\nSecond line.\r\n" + document["text"]
    asked = towns.question(0)
    shift = len(text) - len(document["text"])
    evidence = [e | {"start": e["start"] + shift, "end": e["end"] + shift} for e in asked["evidence"]]
    for number, words in enumerate((evidence[0]["text"], None)):
        files = towns.write(
            tmp_path / f"data{number}",
            [asked | {"evidence": [evidence[0] | {"text": words}]}],
            [document | {"text": text}],
        )
        rows = run(files, tmp_path / f"out{number}", strategies=["full"])
        assert rows[0]["citations"]["supported"] == 1


def test_the_routers_row_is_its_choice_with_the_decisions_seconds(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = {(row["question_id"], row["strategy"]): row for row in run(files, tmp_path / "out")}
    router = rows["towns-0", "router"]
    chosen = rows["towns-0", router["chosen"]]
    assert router["answer"] == chosen["answer"]
    assert router["usage"]["total_s"] == pytest.approx(chosen["usage"]["total_s"] + router["decide_s"])
    decisions = [json.loads(line) for line in (tmp_path / "out/decisions.jsonl").read_text().splitlines()]
    assert router["decision_id"] in {decision["id"] for decision in decisions}


def test_a_metric_that_changed_reaches_rows_that_were_measured_before(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = run(files, tmp_path / "out")
    old = [row | {"score": 0.125, "metrics": {"old": 0.125}} for row in rows]
    (tmp_path / "out/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    assert run(files, tmp_path / "out") == rows


def test_closed_book_reads_no_document(files: tuple[Path, Path], tmp_path: Path) -> None:
    engine = FakeEngine()
    rows = run(files, tmp_path / "out", engine, strategies=["closed"])
    assert {row["strategy"] for row in rows} == {"closed"}
    assert all(not context.parts for context in engine.contexts)


def test_strategies_can_be_added_to_a_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    run(files, tmp_path / "out", strategies=["rag"])
    rows = run(files, tmp_path / "out", strategies=["closed"])
    assert {row["strategy"] for row in rows} == {"rag", "closed"}


def test_a_failing_engine_costs_rows_not_the_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    class Failing(FakeEngine):
        def generate(self, context: Context, params: Any, stopped: Any = None) -> Any:
            if "Brenn" in context.question:
                raise EngineError("the server went away", hint="start it again")
            return super().generate(context, params, stopped)

    rows = run(files, tmp_path / "out", Failing())
    failed = [row for row in rows if row["error"]]
    assert {row["question_id"] for row in failed} == {"towns-1"}
    assert len(failed) == 5
    assert failed[0]["error"] == {"kind": "EngineError", "message": "the server went away"}

    mended = run(files, tmp_path / "out")  # failed rows are run again, the others are not
    assert not any(row["error"] for row in mended)
    assert unmeasured(mended) == unmeasured(run(files, tmp_path / "fresh"))


def test_an_engine_that_is_down_ends_the_run_instead_of_filling_it_with_failures(tmp_path: Path) -> None:
    class Down(FakeEngine):
        def generate(self, context: Context, params: Any, stopped: Any = None) -> Any:
            if self.contexts:
                raise EngineError("connection refused", hint="start it")
            return super().generate(context, params, stopped)

    files = towns.towns(tmp_path / "data", count=6)
    with pytest.raises(EngineError, match="5 questions in a row failed, the last one with: connection refused"):
        run(files, tmp_path / "out", Down())
    assert not any(row["error"] for row in run(files, tmp_path / "out"))


def test_parallel_is_for_engines_that_take_it_and_changes_no_row(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one question at a time"):
        run(files, tmp_path / "no", parallel=3)
    with pytest.raises(ConfigurationError, match="in order"):
        run(files, tmp_path / "no", engine("concurrent"), parallel=3, cache="session")
    alone = run(files, tmp_path / "a")
    together = run(files, tmp_path / "b", engine("concurrent"), parallel=3)
    assert unmeasured(together) == unmeasured(alone)


def test_a_folder_of_another_run_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    run(files, tmp_path / "out", seed=1)
    before = (tmp_path / "out/rows.jsonl").read_text()
    with pytest.raises(ConfigurationError, match="a run with seed 1, not 2"):
        run(files, tmp_path / "out", seed=2)
    with pytest.raises(ConfigurationError, match="model"):
        run(files, tmp_path / "out", FakeEngine(name="other"), seed=1)
    with pytest.raises(ConfigurationError, match="embedder"):
        evaluate.run(*([f] for f in files), tmp_path / "out", engine=FakeEngine(), embedder=WordEmbedder("b"), seed=1)
    with pytest.raises(ConfigurationError, match="limit"):
        run(files, tmp_path / "out", seed=1, limit=2)
    facts = (tmp_path / "out/run.json").read_text()
    (tmp_path / "out/run.json").unlink()
    with pytest.raises(ConfigurationError, match=r"holds rows, but no run\.json"):
        run(files, tmp_path / "out", seed=1)
    (tmp_path / "out/run.json").write_text(facts)
    assert (tmp_path / "out/rows.jsonl").read_text() == before


def test_a_damaged_run_is_named_and_left_as_it_is(files: tuple[Path, Path], tmp_path: Path) -> None:
    run(files, tmp_path / "out")
    rows = tmp_path / "out/rows.jsonl"
    damaged = rows.read_text().replace('"strategy": "rag"', '"strategy: "rag"', 1)
    rows.write_text(damaged)
    with pytest.raises(ConfigurationError, match=r"rows.jsonl:3: "):
        run(files, tmp_path / "out")
    assert rows.read_text() == damaged


def test_two_processes_do_not_write_one_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(StoreError, match="another process"):
        run(files, tmp_path / "out")


def test_malformed_rows_are_named_counted_and_passed_over(files: tuple[Path, Path], tmp_path: Path) -> None:
    questions, _ = files
    lines = questions.read_text().splitlines()
    lines[1] = "{not json"
    lines.append(json.dumps(towns.question(0) | {"id": "x", "doc_ids": ["nowhere"]}))
    questions.write_text("\n".join(lines) + "\n")
    bad: list[str] = []
    rows = run(files, tmp_path / "out", on_bad=lambda b: bad.append(str(b)))
    assert len({row["question_id"] for row in rows}) == 4
    assert [text.split(": ")[0] for text in bad] == [f"{questions}:2", f"{questions}:6"]
    assert json.loads((tmp_path / "out/run.json").read_text())["malformed"] == 2
    with pytest.raises(ConfigurationError, match="malformed rows: 2"):
        run(files, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_a_set_with_a_malformed_row_goes_on_without_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    questions, _ = files
    lines = questions.read_text().splitlines()
    questions.write_text("\n".join([lines[0], lines[1].replace('"answers"', '"answer"'), *lines[2:]]) + "\n")
    ids = tmp_path / "ids.txt"
    ids.write_text("towns-0\ntowns-1\n")
    bad: list[str] = []
    rows = run(files, tmp_path / "out", question_set=str(ids), on_bad=lambda b: bad.append(str(b)))
    assert {row["question_id"] for row in rows} == {"towns-0"}
    assert [f"{questions}:2" in bad[0], "'towns-1' is not among" in bad[1]] == [True, True]


def test_a_budget_that_means_nothing_is_refused_before_anything_is_written(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="max_prompt_tokens is 0"):
        run(files, tmp_path / "out", budget=Budget(max_prompt_tokens=0))
    with pytest.raises(ConfigurationError, match="no strategy is named"):
        run(files, tmp_path / "out", strategies=[])
    assert not (tmp_path / "out").exists()


def test_the_harness_is_measured(files: tuple[Path, Path], tmp_path: Path) -> None:
    slow = FakeEngine(token_s=0.005)
    run(files, tmp_path / "out", slow)
    facts = json.loads((tmp_path / "out/run.json").read_text())
    found = facts["overhead"]
    assert found["engine_s"] > 0.1
    assert found["harness_share"] == pytest.approx(found["harness_s"] / found["engine_s"])
    run(files, tmp_path / "together", engine("concurrent"), parallel=3)
    assert json.loads((tmp_path / "together/run.json").read_text())["overhead"]["harness_s"] is None


def test_unknown_strategy_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown strategy 'rga'"):
        run(files, tmp_path / "out", strategies=["rga"])

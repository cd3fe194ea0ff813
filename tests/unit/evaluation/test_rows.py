import gzip
import json
from pathlib import Path

import pytest
from support.rows import facts, row, write_run

from turnout.errors import ConfigurationError
from turnout.router.evaluation.rows import read_run, write_json_atomically


def test_a_run_is_read_back(tmp_path: Path) -> None:
    rows = [row("q1", "full", 0.25), row("q1", "rag", 1.0)]
    run = read_run(write_run(tmp_path / "r", rows, seed=7))
    assert list(run.rows) == rows
    assert run.facts["seed"] == 7


def test_packed_rows_are_read(tmp_path: Path) -> None:
    rows = [row("q1", "full", 0.25)]
    folder = write_run(tmp_path / "r", rows)
    file = folder / "rows.jsonl"
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert list(read_run(folder).rows) == rows


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full"), row("q1", "rag")])
    file = folder / "rows.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    assert [r["strategy"] for r in read_run(folder).rows] == ["full"]


def test_a_damaged_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full"), row("q1", "rag")])
    file = folder / "rows.jsonl"
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n\n{second[:-30]}\n")
    with pytest.raises(ConfigurationError, match=r"rows\.jsonl:3: "):
        read_run(folder)


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan"), "0.5", None])
def test_a_score_outside_0_to_1_is_refused(score: object, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full") | {"score": score}])
    with pytest.raises(ConfigurationError, match="score"):
        read_run(folder)


def test_a_line_without_the_fields_of_a_row_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full")])
    (folder / "rows.jsonl").write_text('{"question_id": "q1"}\n')
    with pytest.raises(ConfigurationError, match=r"rows\.jsonl:1: not a row: it has no abstained, answer"):
        read_run(folder)


def test_a_failed_row_needs_no_score(tmp_path: Path) -> None:
    failed = row("q1", "full", None, error={"kind": "EngineError", "message": "no"})
    assert read_run(write_run(tmp_path / "r", [failed])).rows[0]["score"] is None


def test_a_row_that_was_left_out_needs_no_score(tmp_path: Path) -> None:
    limit = {"limit": "window", "allowed": 8192, "needed": 9000}
    found = read_run(write_run(tmp_path / "r", [row("q1", "full", None, left_out=limit)])).rows[0]
    assert (found["score"], found["left_out"]) == (None, limit)


def test_of_two_rows_of_one_question_and_strategy_the_later_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full", 0.0), row("q1", "rag"), row("q1", "full", 1.0)])
    assert [(r["strategy"], r["score"]) for r in read_run(folder).rows] == [("full", 1.0), ("rag", 0.5)]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not an evaluation run"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(facts(schema=99))])
def test_a_run_of_another_schema_is_refused(text: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full")])
    (folder / "run.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"run\.json"):
        read_run(folder)


@pytest.mark.parametrize("model", [None, {}, {"name": "m", "fingerprint": "f"}, {"name": "m", "window": 8192}])
def test_a_run_that_does_not_say_which_model_it_was_is_refused(model: object, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [row("q1", "full")], model=model)
    with pytest.raises(ConfigurationError, match="which model"):
        read_run(folder)


def test_what_can_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_json_atomically(tmp_path / "taken", {})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json_atomically(file, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomically(file, {"a": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]

"""Labelling a run: which rows are shown, what is kept of a verdict, and what is learned from it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import questions as towns
from support.embedders import WordEmbedder
from support.rows import row, write_run

from turnout import evaluate
from turnout.cli.main import cli
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.evaluate import Labelling
from turnout.router.evaluation import labels
from turnout.router.evaluation.rows import read_run
from turnout.types import Context


def answered(question: str, strategy: str, answer: str, **changes: Any) -> dict[str, Any]:
    return row(question, strategy, 0.25, answer=answer, **changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two questions on which full and rag disagree, and three that are not to be labelled."""
    limit = {"limit": "window", "allowed": 8192, "needed": 9000}
    rows = [
        answered("q1", "full", "In 1801."), answered("q1", "rag", "Nobody knows."),
        answered("q1", "extract", "1801, in"),
        answered("q2", "full", "Marta"), answered("q2", "rag", "", abstained=True),
        answered("q3", "full", "The 1812."), answered("q3", "rag", "1812"),
        answered("q4", "full", "", left_out=limit) | {"score": None}, answered("q4", "rag", "1823"),
        answered("q5", "full", "", abstained=True), answered("q5", "rag", "Not in the text.", abstained=True),
        answered("q1", "router", "Nobody knows.", chosen="rag"),
    ]  # fmt: skip
    return write_run(tmp_path / "run", rows)


def right(folder: Path) -> dict[tuple[str, str], float]:
    found, _ = labels.applied(read_run(folder).rows, labels.read(folder))
    return {(line["question_id"], line["strategy"]): line["score"] or 0.0 for line in found}


def key_for(shown: Any, answer: str) -> str:
    return "1" if shown.first.answer == answer else "2"


def test_only_answers_that_differ_are_shown_and_a_verdict_counts_for_all_that_are_the_same(run: Path) -> None:
    labelling = Labelling(run)
    assert (labelling.strategies, labelling.disagree, labelling.labelled) == (("full", "rag"), 2, 0)
    first, second = labelling
    assert [first.question_id, second.question_id] == ["q1", "q2"]
    labelling.keep("q1", key_for(first, "In 1801."))
    labelling.keep("q2", "none")
    scores = right(run)
    assert (scores["q1", "full"], scores["q1", "rag"]) == (1.0, 0.0)
    assert scores["q1", "extract"] == 1.0, "as full said"
    assert scores["q1", "router"] == 0.0, "as rag said, whose row it is"
    assert (scores["q2", "full"], scores["q2", "rag"]) == (0.0, 0.0)
    assert scores["q3", "full"] == 0.25, "nobody judged it"


def test_labelling_goes_on_where_it_stopped_and_a_torn_line_is_dropped(run: Path) -> None:
    labelling = Labelling(run)
    labelling.keep("q1", "both")
    with (run / labels.VERDICTS_FILE).open("a", encoding="utf-8") as file:
        file.write('{"question_id": "q2", "ri')
    again = Labelling(run)
    assert again.labelled == 1 and [shown.question_id for shown in again] == ["q2"]
    again.keep("q2", "2")
    assert len(labels.read(run)) == 2
    assert list(Labelling(run)) == []


def test_a_verdict_on_an_answer_that_is_another_now_counts_no_more(run: Path) -> None:
    Labelling(run).keep("q1", "both")
    lines = (run / "rows.jsonl").read_text(encoding="utf-8").replace("In 1801.", "In 1901.")
    (run / "rows.jsonl").write_text(lines, encoding="utf-8")
    assert right(run)["q1", "full"] == 0.25
    assert Labelling(run).labelled == 0


@pytest.mark.parametrize("line", ["[]", '{"question_id": "q1"}', "no json"])
def test_a_damaged_verdict_is_named(run: Path, line: str) -> None:
    (run / labels.VERDICTS_FILE).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"verdicts.jsonl:1: no verdict"):
        Labelling(run)


def test_what_cannot_be_labelled_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not an evaluation run"):
        Labelling(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="did you mean"):
        Labelling(run, ("full", "rga"))
    with pytest.raises(ConfigurationError, match="two strategies"):
        Labelling(run, ("full", "full"))
    with pytest.raises(UnknownNameError, match="verdict"):
        Labelling(run).keep("q1", "3")
    with pytest.raises(UnknownNameError, match="q3"):
        Labelling(run).keep("q3", "1")


# --- on the command line ---------------------------------------------------------------------------------------------


def label(run: Path, *options: str, keys: str = "") -> Any:
    return CliRunner().invoke(cli, ["eval", "label", str(run), *options], input=keys)


def test_keys_are_taken_until_one_stops(run: Path) -> None:
    first = label(run, keys="4\ns\nboth\n")
    assert first.exit_code == 0
    assert "In 1801." in first.stdout and "(not in the text)" in first.stdout
    assert "full" not in first.stdout and "rag" not in first.stdout, "names are not shown"
    assert "1 of 2 labelled" in first.stderr and f"next: turnout eval label {run}" in first.stderr
    assert label(run, keys="q\n").stderr.count("1 of 2") == 2
    done = label(run, keys="1\n")
    assert f"next: turnout calibrate quality --run {run}" in done.stderr
    assert label(run).stdout == ""
    assert label(run, "--strategies", "full").exit_code == 2


def test_a_run_without_disagreements_says_so(tmp_path: Path) -> None:
    same = write_run(tmp_path / "same", [answered("q1", "full", "1801"), answered("q1", "rag", "1801")])
    found = label(same)
    assert (found.exit_code, found.stdout) == (0, "")
    assert "full and rag disagree on no question" in found.stderr


def test_a_real_run_shows_its_questions_and_what_its_answers_cite(home: Path, tmp_path: Path) -> None:
    def answers(context: Context) -> str:
        whole = sum(len(part.text) for part in context.parts) > 8000
        return "The bridge of Arle was built in 1801." if whole else "It was 1799."

    questions, documents = towns.towns(tmp_path / "data", 2, filler=160)
    files = [questions], [documents], tmp_path / "out"
    evaluate.run(*files, strategies=["full", "rag"], engine=FakeEngine(answers), embedder=WordEmbedder())
    labelling = Labelling(tmp_path / "out")
    shown = next(iter(labelling))
    assert shown.question == "When was the bridge of Arle built?"
    assert labelling.disagree >= 1
    sources = [source for side in (shown.first, shown.second) for source in side.sources]
    assert any(source.startswith("Arle l.1: ") and "1801" in source for source in sources)
    row_ = json.loads((tmp_path / "out" / "rows.jsonl").read_text().splitlines()[0])
    assert set(row_["sources"][0]) == {"doc_id", "start", "end"}

"""What is published of a run: everything that a report needs, and no words of a dataset or folders of a machine."""

from __future__ import annotations

import gzip
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.rows import realistic, row, write_run

from turnout.router.evaluation.compare import compare
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.rows import read_run

SECRET = "zebra"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    return importlib.import_module("publish_run")


@pytest.fixture
def out(publish: ModuleType, tmp_path: Path) -> Path:
    """A published run, whose own rows and facts are full of words and folders."""
    rows: list[dict[str, Any]] = [r | {"answer": SECRET, "note": SECRET} for r in realistic(4)]
    failed = {"kind": "EngineError", "message": SECRET}
    extra = [row("x1", name, answer=SECRET, dataset="squad") for name in ("full", "rag", "extract", "closed")]
    rows += [*extra, row("x1", "self_route", None, error=failed, dataset="squad")]
    rows.append(row("x1", "router", 0.0, answer="", chosen=None, refused=SECRET, dataset="squad"))
    folder = write_run(
        tmp_path / "runs" / "mine",
        rows,
        command=(
            "turnout eval run --model=/models/small -q /data/a.jsonl -d ../data/docs --home '/my home/x' "
            "-o/abs/runs/mine --set ~/ids.txt --embedder cpu,/models/embedder --max-new 3/4"
        ),
        model={"name": "/models/small", "fingerprint": "f1", "window": 8192, "parameters": None, "path": "/models"},
        set="/data/ids.txt",
        passes=[{"folder": "/data"}],
        host="/data",
    )
    publish.main(folder, tmp_path / "repository")
    return tmp_path / "repository/benchmarks/results/mine"


def test_no_words_of_the_dataset_are_published(out: Path) -> None:
    rows = gzip.decompress((out / "rows.jsonl.gz").read_bytes()).decode()
    for text in (rows, (out / "figures.json").read_text(), (out / "run.json").read_text()):
        assert SECRET not in text
    (error,) = [json.loads(line)["error"] for line in rows.splitlines() if json.loads(line)["error"]]
    assert error == {"kind": "EngineError", "message": ""}
    (refused,) = [json.loads(line) for line in rows.splitlines() if "refused" in json.loads(line)]
    assert refused["refused"] == ""


def test_no_folders_of_the_machine_are_published(out: Path) -> None:
    stored = json.loads((out / "run.json").read_text())
    assert stored["command"] == (
        "turnout eval run --model=small -q a.jsonl -d ../data/docs --home x -omine --set ids.txt "
        "--embedder cpu,embedder --max-new 3/4"
    )
    assert stored["model"] == {"name": "small", "fingerprint": "f1", "window": 8192, "parameters": None}
    assert stored["set"] == "ids.txt"
    assert stored.keys().isdisjoint({"passes", "host"})
    shown = json.loads((out / "figures.json").read_text())["run"]
    assert (shown["command"], shown["model"], shown["set"]) == (stored["command"], stored["model"], "ids.txt")


def test_what_is_published_is_read_as_a_run_and_gives_the_published_figures(out: Path) -> None:
    assert figures(read_run(out)) == json.loads((out / "figures.json").read_text())
    assert compare(f"{out}:rag", f"{out}:full")["questions"] == 41
    plots = sorted(file.name for file in (out.parents[2] / "docs/figures/mine").iterdir())
    assert plots == ["first-word.svg", "frontier.svg", "length.svg", "regret.svg"]


def test_a_run_that_is_not_finished_is_not_published(publish: ModuleType, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "mine", [row("q1", "rag")], finished=None)
    with pytest.raises(SystemExit, match="not finished"):
        publish.main(folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

"""extract in an evaluation: rows by name, and a router that chooses it only once it was measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support import questions as towns
from support.able import AbleEngine
from support.embedders import WordEmbedder
from support.routing import signals

from turnout import Text, Turnout, calibrate, evaluate
from turnout.config import Settings
from turnout.database import Database
from turnout.engines.fake import FakeEngine
from turnout.retrieval.hybrid import HybridRetriever
from turnout.router.calibration.quality import Observed, fit
from turnout.router.calibration.quality_store import Made, save
from turnout.router.evaluation import runner
from turnout.router.quality import QualityModel, prior
from turnout.router.strategies import build

VARIANTS = ("extract", "extract:exit", "extract:code")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return towns.towns(tmp_path / "data", filler=80)


def run(files: tuple[Path, Path], out: Path, engine: FakeEngine | None = None, **options: Any) -> dict[Any, Any]:
    options = {"embedder": WordEmbedder(dimension=4096), **options}
    evaluate.run([files[0]], [files[1]], out, engine=engine or AbleEngine(), **options)
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return {(row["question_id"], row["strategy"]): row for row in rows}


def measured() -> QualityModel:
    """A calibration in which extract is much better than rag."""
    observed = [
        Observed(f"q{n}", "a", f"d{n}", signals(), {"rag": 0.2, "full": 0.2, "extract": 0.9}, same_text=False)
        for n in range(80)
    ]
    return fit(prior(None), observed)


def test_rows_by_name_read_less_and_say_what_was_predicted(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = run(files, tmp_path / "out", strategies=("full", "extract", "extract:exit"))
    assert len(rows) == 3 * 5
    for (question, name), row in rows.items():
        assert row["error"] is None
        if name != "full":
            assert row["usage"]["prompt_tokens"] < rows[question, "full"]["usage"]["prompt_tokens"] / 2
            assert row["usage"]["prompt_tokens"] <= row["predicted"]["prompt_tokens"]
            assert row["predicted"]["ttft_s"] > 0
    assert rows["towns-1", "extract"]["score"] > 0
    # Nothing is wanted of the text, so nothing was read and nothing answered.
    unanswerable = rows["towns-none-0", "extract:exit"]
    assert (unanswerable["abstained"], unanswerable["score"], unanswerable["usage"]["prompt_tokens"]) == (True, 1.0, 0)


def test_where_it_can_not_run_its_row_says_so(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = run(files, tmp_path / "out", FakeEngine(), strategies=("rag", "extract:exit", "extract:code"))
    for name in ("extract:exit", "extract:code"):
        assert "needs a model that this machine runs" in rows["towns-0", name]["error"]["message"]
    rows = run(files, tmp_path / "able", strategies=("rag", "extract:code"))
    assert "no source code" in rows["towns-0", "extract:code"]["error"]["message"]


def test_all_leaves_out_what_was_not_measured() -> None:
    strategies = build(AbleEngine(), HybridRetriever())
    usual = ["router", "full", "rag", "closed", "self_route"]
    assert runner.choose(["all"], strategies) == usual
    assert runner.choose(["router"], strategies) == ["router", "full", "rag"]
    assert runner.choose(["all", "extract"], strategies) == ["router", "full", "rag", "extract", "closed", "self_route"]
    assert runner.choose(["extract:exit"], strategies) == ["extract:exit"]
    assert runner.choose(["router"], strategies, measured()) == ["router", "full", "rag", "extract"]


def test_the_router_takes_it_only_where_it_was_measured(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = run(files, tmp_path / "before", strategies=("router", "extract"))
    assert {rows[f"towns-{n}", "router"]["chosen"] for n in range(4)} <= {"full", "rag"}
    decisions = [json.loads(line) for line in (tmp_path / "before" / "decisions.jsonl").read_text().splitlines()]
    (shown,) = (c for c in decisions[0]["candidates"] if c["strategy"] == "extract")
    assert shown["excluded_by"]["limit"] == "tier"
    assert shown["ttft_s"] > 0

    home, engine, embedder = tmp_path / "home", AbleEngine(), WordEmbedder(dimension=4096)
    made = Made("", embedder.fingerprint, ("rag", "full", "extract"), 80, "2026-11-27")
    save(Database.at(Settings.load(home=home)), engine.model.fingerprint, measured(), made)
    rows = run(files, tmp_path / "after", engine, strategies=("router",), home=home)
    for n in range(4):
        assert rows[f"towns-{n}", "router"]["chosen"] == "extract"
        assert rows[f"towns-{n}", "router"]["answer"] == rows[f"towns-{n}", "extract"]["answer"]
    assert asdict(made)["strategies"] == ("rag", "full", "extract")


def test_calibrating_on_a_run_with_its_rows_measures_it(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    padding = " ".join(f"The market sold {n} kinds of cloth on day {n} of the fair." for n in range(40))
    names = [f"{first}{last}" for first in ("Ar", "Cor") for last in ("le", "dan", "vik", "mo", "sey")]
    documents = [
        {"doc_id": name, "text": f"{padding} The bridge of {name} was built in {1800 + n}. It was raining in {name}."}
        for n, name in enumerate(names)
    ]
    questions = [
        {"id": f"{name}-{k}", "question": f"{asked} the bridge of {name} built?", "answers": [str(1800 + n)],
         "doc_ids": [name]}
        for n, name in enumerate(names)
        for k, asked in enumerate(("When was", "In which year was", "What year was", "Since when is"))
    ]  # fmt: skip
    files = towns.write(tmp_path / "data", questions, documents)
    home = tmp_path / "home"
    run(files, tmp_path / "out", strategies=("router", "extract"), home=home, embedder=None)
    told = calibrate.quality(run=tmp_path / "out", engine=AbleEngine(), home=home, model="fake")
    assert told["questions"] == 40
    with Turnout(engine=AbleEngine(), home=home) as t:
        quality = t._opened().quality
        assert quality is not None
        assert quality.knows("extract") and not quality.knows("extract:exit")
        plan = t.plan("When was the bridge of Arle built?", [Text(documents[0]["text"])])
        assert plan["extract"].excluded_by is None

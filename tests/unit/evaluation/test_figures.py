import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.rows import facts, realistic, row, write_run

from turnout.errors import ConfigurationError
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.report_page import page
from turnout.router.evaluation.rows import Run, read_run
from turnout.router.evaluation.slices import band
from turnout.router.evaluation.verdict import sentence

ABOUT: dict[str, dict[str, Any]] = {
    "q1": {"dataset": "a", "task": "location", "cluster": "d1", "context_tokens": 500},
    "q2": {"dataset": "a", "task": "comparison", "cluster": "d2", "context_tokens": 3_000},
    "q3": {
        "dataset": "b",
        "task": "hallucination",
        "cluster": "d3",
        "context_tokens": 40_000,
        "answer_type": "unanswerable",
    },
}


def three_questions() -> list[dict[str, Any]]:
    slow = {"ttft_s": 2.0, "total_s": 4.0, "cost": 4.0, "prompt_tokens": 3000}
    full = [
        row("q1", "full", 0.8, usage=slow | {"cached_tokens": 10}, citations=cited(2, 1, 1, 2, 1), **ABOUT["q1"]),
        row("q2", "full", 0.2, usage=slow, citations=cited(2, 2, None), **ABOUT["q2"]),
        row("q3", "full", 0.0, usage=slow | {"total_s": 10.0}, citations=cited(0, 0, None), truncated=True)
        | ABOUT["q3"],
    ]
    rag = [
        row("q1", "rag", 0.4, **ABOUT["q1"]),
        row("q2", "rag", 0.6, **ABOUT["q2"]),
        row("q3", "rag", 1.0, abstained=True, **ABOUT["q3"]),
    ]
    router = [r | {"strategy": "router", "chosen": r["strategy"]} for r in (full[0], rag[1], rag[2])]
    closed = [
        row("q1", "closed", 0.6, **ABOUT["q1"]),
        row("q2", "closed", 0.0, **ABOUT["q2"]),
        row("q3", "closed", 1.0, abstained=True, **ABOUT["q3"]),
    ]
    return [*full, *rag, *router, *closed]


def cited(given: int, found: int, supported: int | None, quoted: int = 0, own: int = 0) -> dict[str, int | None]:
    return {
        "given": given,
        "found": found,
        "supported": supported,
        "quoted": quoted,
        "quoted_found": own,
        "quoted_supported": None if supported is None else min(own, supported),
    }


def made(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return figures(Run(Path("run"), facts(**changes), tuple(rows)))  # type: ignore[arg-type]


def entry(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(strategy for strategy in report["strategies"] if strategy["name"] == name)


def test_the_score_is_the_mean_over_datasets() -> None:
    report = made(three_questions())
    # full: a (0.8 + 0.2)/2 = 0.5, b 0 -> 0.25; rag: a 0.5, b 1 -> 0.75; router: a 0.7, b 1 -> 0.85
    assert entry(report, "full")["score"]["mean"] == pytest.approx(0.25)
    assert entry(report, "rag")["score"]["mean"] == pytest.approx(0.75)
    assert entry(report, "router")["score"]["mean"] == pytest.approx(0.85)
    assert report["best_single"] == "rag"
    assert entry(report, "rag")["difference"] is None
    assert entry(report, "router")["difference"]["mean"] == pytest.approx(0.1)
    # by tasks: location 0.8, comparison 0.2, hallucination 0
    assert entry(report, "full")["task_mean"] == pytest.approx(1 / 3)
    # oracle: a (0.8 + 0.6)/2 = 0.7, b 1 -> 0.85
    assert entry(report, "full")["regret"] == pytest.approx(0.85 - 0.25)
    assert entry(report, "router")["regret"] == pytest.approx(0.0)


def test_strategies_come_in_the_order_of_reports() -> None:
    report = made(realistic(2, strategies=("rapid:lossless", "extract", "rapid")))
    assert [strategy["name"] for strategy in report["strategies"]] == [
        *("router", "full", "rag", "extract", "rapid", "rapid:lossless", "closed", "self_route"),
        *("task_rule", "random", "oracle"),
    ]


def test_costs_citations_and_refusals() -> None:
    report = made(three_questions())
    full, rag = entry(report, "full"), entry(report, "rag")
    assert full["seconds"] == {"mean": 6.0, "median": 4.0}  # 4, 4, 10
    assert full["ttft"] == {"mean": 2.0, "median": 2.0}
    assert full["prompt_tokens"] == 3000
    # The model gave two quotes, of which one was found; q2's citations are matched sentences, found by construction.
    assert full["citations"] == {
        "given": 4,
        "quoted": 2,
        "found": 0.5,
        "precision": 1.0,
        "gold": 1,
        "evidence": 1.0,
        "evidence_of": 1,
    }
    assert (full["truncated"], full["cached_rows"]) == (1, 1)
    assert rag["abstention"]["precision"] == 1.0
    assert full["abstention"]["recall"] == 0.0
    assert entry(report, "random")["citations"] is None
    # An expectation has a mean, but no median: half of full's 2 s and half of rag's 1 s are no answer's first word.
    assert entry(report, "random")["ttft"]["median"] is None
    assert entry(report, "random")["seconds"]["median"] is None
    assert entry(report, "random")["ttft"]["mean"] == pytest.approx(1 + 1 / 3)


def left_out(line: dict[str, Any]) -> dict[str, Any]:
    """The row of a question that is too long."""
    return line | {
        "score": None,
        "usage": {},
        "truncated": False,
        "left_out": {"limit": "window", "allowed": 8192, "needed": 40_048},
    }


def without_the_long_one() -> list[dict[str, Any]]:
    """Full is left out of q3."""
    return [
        left_out(line) if (line["question_id"], line["strategy"]) == ("q3", "full") else line
        for line in three_questions()
    ]


def test_a_strategy_is_scored_over_what_it_was_asked_and_compared_over_what_both_were() -> None:
    report = made(without_the_long_one())
    full, rag, router = (entry(report, name) for name in ("full", "rag", "router"))
    assert (report["questions"], report["left_out"], report["failed_rows"]) == (3, 0, 0)
    assert (full["questions"], full["left_out"], rag["questions"]) == (2, {"window": 1}, 3)
    assert full["score"]["mean"] == pytest.approx(0.5)
    assert (full["seconds"]["mean"], full["prompt_tokens"], full["truncated"]) == (4.0, 3000, 0)
    # The others are scored over all three, so the best single strategy is one that answers all of them.
    assert (report["best_single"], rag["score"]["mean"], router["score"]["mean"]) == ("rag", 0.75, 0.85)
    assert full["difference"]["mean"] == pytest.approx(0.5 - 0.5)
    assert router["difference"]["mean"] == pytest.approx(0.85 - 0.75)
    pairs = {(verdict["a"], verdict["b"]): verdict for verdict in report["verdicts"]}
    assert {pair: verdict["questions"] for pair, verdict in pairs.items()} == {
        ("router", "rag"): 3,
        ("router", "full"): 2,
        ("full", "rag"): 2,
    }
    assert pairs["router", "full"]["difference"]["mean"] == pytest.approx(0.7 - 0.5)
    assert "at n=2" in pairs["router", "full"]["text"]
    # The oracle has 0.8 and 0.6 where full has 0.8 and 0.2.
    assert full["regret"] == pytest.approx(0.2)
    assert report["wins"] == {"full": 0.5, "rag": 0.5, "tie": 0.0}
    (longest,) = (band for band in report["lengths"] if band["name"] == "32K+")
    assert (longest["scores"]["full"], longest["scores"]["rag"]["mean"], longest["wins"]) == (None, 1.0, {})
    assert "full" not in longest["regret"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_what_takes_full_takes_rag_where_full_was_left_out() -> None:
    lines = [line | {"task": "comparison"} for line in without_the_long_one()]
    report = made(lines)
    # full's 0.8 and 0.2 on a, rag's 1.0 on b
    assert entry(report, "task_rule")["score"]["mean"] == pytest.approx((0.5 + 1.0) / 2)
    assert entry(report, "random")["questions"] == 3
    assert entry(report, "oracle")["score"]["mean"] == pytest.approx((0.7 + 1.0) / 2)


def test_among_strategies_that_were_all_left_out_of_some_the_best_is_that_of_what_all_answered() -> None:
    about = {f"q{n}": {"context_tokens": 500 * n} for n in range(4)}
    full = [left_out(row("q0", "full")), *(row(f"q{n}", "full", 0.6) for n in (1, 2, 3))]
    extract = [
        row("q0", "extract", 1.0),
        *(row(f"q{n}", "extract", 0.5) for n in (1, 2)),
        left_out(row("q3", "extract")),
    ]
    report = made([line | about[line["question_id"]] for line in [*full, *extract]])
    assert report["best_single"] == "full", "on q1 and q2; extract has the higher mean of all that it answered"
    assert entry(report, "extract")["difference"]["mean"] == pytest.approx(-0.1)


def test_a_strategy_that_was_left_out_of_everything_is_named_and_the_others_stay() -> None:
    everything = [left_out(line) if line["strategy"] == "full" else line for line in three_questions()]
    report = made(everything)
    assert report["unusable"] == {"full": 0}
    assert "full" not in {strategy["name"] for strategy in report["strategies"]}
    with pytest.raises(ConfigurationError, match="has no question that every strategy answered") as caught:
        made([line for line in everything if line["strategy"] == "full"])
    assert "--over-window cut" in caught.value.hint


def test_quotes_found_is_none_where_the_model_gave_none() -> None:
    older = row("q1", "rag", citations={"given": 2, "found": 2, "supported": 1})
    citations = made([older, row("q2", "rag", citations=cited(3, 3, None))])["strategies"][0]["citations"]
    assert (citations["given"], citations["precision"], citations["gold"]) == (5, 0.5, 2)
    assert (citations["quoted"], citations["found"], citations["evidence"]) == (0, None, None)


def test_own_evidence_counts_answered_questions_with_gold() -> None:
    rows = [
        row("q1", "rag", citations=cited(1, 1, 1, 1, 1)),
        row("q2", "rag", citations=cited(3, 3, 2)),  # matched sentences alone
        row("q3", "rag", citations=cited(1, 1, None, 1, 1)),  # no gold evidence
        row("q4", "rag", citations=cited(0, 0, 0), abstained=True),
    ]
    citations = made(rows)["strategies"][0]["citations"]
    assert (citations["evidence"], citations["evidence_of"]) == (0.5, 2)


def test_a_strategy_whose_rows_all_failed_does_not_stop_the_report() -> None:
    failed = [row(f"q{n}", "rag", None, error={"kind": "BudgetError", "message": "no"}) for n in (1, 2)]
    report = made([row("q1", "full"), row("q2", "full"), *failed])
    assert [strategy["name"] for strategy in report["strategies"]] == ["full"]
    assert (report["unusable"], report["failed_rows"], report["left_out"]) == ({"rag": 2}, 2, 0)


def test_limits_that_were_set_show_the_share_of_rows_that_kept_them() -> None:
    report = made(three_questions(), budget={"max_ttft_s": 1.5, "max_memory_bytes": 2**29, "optimize": "quality"})
    assert entry(report, "full")["kept"]["max_ttft_s"] == {"limit": 1.5, "share": 0.0, "rows": 3}
    assert entry(report, "rag")["kept"]["max_ttft_s"]["share"] == 1.0
    assert entry(report, "rag")["kept"]["max_memory_bytes"]["share"] == 0.0  # each row took 2**30
    assert made(three_questions())["strategies"][0]["kept"] == {}


def test_slices() -> None:
    report = made(three_questions())
    assert [part["name"] for part in report["lengths"]] == ["<1K", "2-4K", "32K+"]
    assert [part["name"] for part in report["datasets"]] == ["a", "b"]
    by_task = {part["name"]: part for part in report["tasks"]}
    assert by_task["comparison"]["scores"]["rag"]["mean"] == 0.6
    assert by_task["comparison"]["regret"]["full"] == pytest.approx(0.4)
    assert by_task["comparison"]["wins"] == {"full": 0.0, "rag": 1.0, "tie": 0.0}
    assert by_task["location"]["chosen"] == {"full": 1}
    assert report["wins"] == {"full": pytest.approx(1 / 3), "rag": pytest.approx(2 / 3), "tie": 0.0}


@pytest.mark.parametrize(
    ("tokens", "name"),
    [(999, "<1K"), (1000, "1-2K"), (7999, "4-8K"), (8000, "8-16K"), (31_999, "16-32K"), (32_000, "32K+")],
)
def test_bands(tokens: int, name: str) -> None:
    assert band(tokens) == name


def test_what_the_model_knew_before_is_kept_apart() -> None:
    control = made(three_questions())["closed_book"]
    # q1 only: q3 is unanswerable, declining it shows no knowledge. Without q1: full a 0.2, b 0; rag a 0.6, b 1.
    assert control["known"] == 1
    assert control["strategies"]["full"]["without"]["mean"] == pytest.approx(0.1)
    assert control["strategies"]["rag"]["without"]["mean"] == pytest.approx(0.8)
    assert control["strategies"]["rag"]["known"]["mean"] == 0.4
    assert made([r for r in three_questions() if r["strategy"] != "closed"])["closed_book"] is None


def test_predicted_over_measured() -> None:
    rows = three_questions()
    timing = made(rows)["timing"]
    # predicted is 1.0 s; full's first words took 2.0 s, rag's 1.0 s
    assert timing["full"]["ttft"] == {"rows": 3, "median": 0.5, "p10": 0.5, "p90": 0.5}
    assert timing["all"]["ttft"] == {"rows": 6, "median": 0.75, "p10": 0.5, "p90": 1.0}
    assert "closed" not in timing
    # A row for which the model wrote nothing is no measurement of it.
    silent = [r | {"usage": r["usage"] | {"completion_tokens": 0}} if r["strategy"] == "full" else r for r in rows]
    assert made(silent)["timing"]["full"]["ttft"] is None
    assert made(silent)["timing"]["all"]["ttft"]["rows"] == 3
    unknown = [r | {"predicted": dict.fromkeys(r["predicted"])} for r in three_questions()]
    assert made(unknown)["timing"]["all"] == {"ttft": None, "total": None}


def two_strategies(questions: int, gain: float, noise: float) -> list[dict[str, Any]]:
    """Full is `gain` above rag on the whole, and `noise` above or below that on every second question."""
    rows = []
    for number in range(questions):
        swing = noise if number % 2 else -noise
        rows += [row(f"q{number}", "full", 0.5 + gain + swing), row(f"q{number}", "rag", 0.5)]
    return rows


def test_a_clear_difference_is_told_apart() -> None:
    (verdict,) = made(two_strategies(20, 0.2, 0.05))["verdicts"]
    assert verdict["told_apart"]
    assert verdict["disagree"] == 20
    assert verdict["text"].startswith("full above rag by 0.20 [")
    assert "at n=20" in verdict["text"]


def test_an_unclear_difference_says_how_many_questions_it_needs() -> None:
    (verdict,) = made(two_strategies(20, 0.02, 0.3))["verdicts"]
    assert not verdict["told_apart"]
    # Half-width about 1.96 * 0.3 / sqrt(20) = 0.13, so about 20 * (0.13 / 0.02)^2 = 860; the bootstrap comes near.
    assert 700 < verdict["needed"] < 1100
    assert verdict["text"].startswith(f"rag and full not told apart at n=20 (0.02 needs about {verdict['needed']:,})")


def test_a_handful_of_documents_never_tells_apart() -> None:
    (verdict,) = made(two_strategies(9, 0.3, 0.0))["verdicts"]
    assert not verdict["told_apart"]
    assert "too few documents in a dataset to say" in verdict["text"]


def test_datasets_of_one_question_never_tell_apart() -> None:
    # Drawn within each dataset, one question has no spread at all: the interval has no width.
    report = made([r | {"dataset": r["question_id"]} for r in two_strategies(20, 0.2, 0.05)])
    (verdict,) = report["verdicts"]
    assert verdict["difference"]["low"] == pytest.approx(verdict["difference"]["high"])
    assert not verdict["told_apart"]
    assert report["lonely_datasets"] == 20


def test_questions_count_where_there_is_one_document() -> None:
    one = [r | {"cluster": "msa"} for r in two_strategies(20, 0.2, 0.05)]
    assert made(one)["verdicts"][0]["told_apart"]


def test_no_difference_at_all() -> None:
    (verdict,) = made(two_strategies(20, 0.0, 0.0))["verdicts"]
    assert verdict["text"] == "rag and full not told apart at n=20 (no difference seen)"


def test_the_worse_one_is_named_as_such() -> None:
    against = {
        "difference": {"mean": -0.1, "low": -0.15, "high": -0.05},
        "told_apart": True,
        "needed": None,
        "too_few": False,
    }
    assert sentence("router", "rag", against, 40) == "rag above router by 0.10 [0.05, 0.15] at n=40"


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows = realistic(4)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert made(shuffled) == made(rows)


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", realistic(2))
    run = read_run(folder)
    report = figures(run)
    here = hashlib.sha256((json.dumps(report, allow_nan=False) + page(report, run.rows)).encode()).hexdigest()
    script = """
import hashlib, json, sys
from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.report_page import page
from turnout.router.evaluation.rows import read_run
run = read_run(sys.argv[1])
report = figures(run)
print(hashlib.sha256((json.dumps(report, allow_nan=False) + page(report, run.rows)).encode()).hexdigest())
"""
    command = [sys.executable, "-c", script, str(folder)]
    # A hash seed of its own: nothing may depend on the order of a set.
    env = os.environ | {"PYTHONHASHSEED": "7"}
    there = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert there.strip() == here


def test_the_day_of_measuring_is_that_of_the_profile() -> None:
    assert made(three_questions())["run"]["profile_measured"] == "2026-11-21"
    assert made(three_questions(), profile={"measured": None})["run"]["profile_measured"] is None


def test_figures_are_json(tmp_path: Path) -> None:
    report = made(realistic(2))
    assert json.loads(json.dumps(report, allow_nan=False)) == report

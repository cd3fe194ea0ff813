from pathlib import Path
from typing import Any

import pytest
from support.rows import facts, row, write_run

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.evaluation.compare import compare, comparison_lines


def rows(questions: range, rag: float, seconds: float = 2.0, **changes: Any) -> list[dict[str, Any]]:
    """Full at 0.5, and rag at its score give or take 0.1."""
    made = []
    for number in questions:
        about = {"dataset": "a" if number % 4 else "b", "task": "location" if number % 2 else "comparison"} | changes
        swing = 0.1 if number % 2 else -0.1
        usage = {"total_s": seconds, "prompt_tokens": 1000 * seconds}
        made += [
            row(f"q{number}", "full", 0.5, **about),
            row(f"q{number}", "rag", rag + swing, usage=usage, **about),
            row(f"q{number}", "router", rag + swing, usage=usage, chosen="rag", **about),
        ]
    return made


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_run(tmp_path / "base", rows(range(40), 0.5))


def test_two_runs_over_the_questions_that_both_have(base: Path, tmp_path: Path) -> None:
    new = write_run(tmp_path / "new", rows(range(10, 52), 0.6, seconds=1.0))
    result = compare(str(base), str(new))
    assert result["questions"] == 30
    assert result["left_out"] == {"a": 10, "b": 12}
    assert result["score"]["difference"]["mean"] == pytest.approx(0.1)
    assert result["score"]["told_apart"]
    assert result["ratios"] == {"seconds": 0.5, "prompt_tokens": 0.5}
    assert [(part["name"], part["questions"]) for part in result["datasets"]] == [("a", 23), ("b", 7)]
    assert [part["name"] for part in result["tasks"]] == ["comparison", "location"]
    assert not result["failed"]


def test_the_score_is_the_mean_over_datasets(base: Path) -> None:
    # rag is 0.6 on odd and 0.4 on even questions. b holds 0, 4, ...: all 0.4. a holds 20 odd and 10 even ones:
    # (20 * 0.6 + 10 * 0.4) / 30 = 0.5333. Mean over datasets 0.4667; full is 0.5 everywhere.
    score = compare(f"{base}:full", f"{base}:rag")["score"]
    assert score["a"] == pytest.approx(0.5)
    assert score["b"] == pytest.approx((0.4 + 16 / 30) / 2)
    assert score["difference"]["mean"] == pytest.approx((0.4 + 16 / 30) / 2 - 0.5)


@pytest.mark.parametrize(("limit", "failed"), [(None, False), (-0.11, False), (-0.09, True), (0.0, True)])
def test_fail_under(limit: float | None, failed: bool, base: Path, tmp_path: Path) -> None:
    worse = write_run(tmp_path / "worse", rows(range(40), 0.4))
    result = compare(str(base), str(worse), fail_under=limit)
    assert result["failed"] is failed
    last = comparison_lines(result)[-1]
    assert last.startswith("verdict" if limit is None else "failed" if failed else "passed")


def test_fail_under_forgives_rounding(base: Path, tmp_path: Path) -> None:
    # 0.1 + 0.2 - 0.3 and the like: 0.4 - 0.5 is -0.09999999999999998, and means over it may lie on either side.
    worse = write_run(tmp_path / "worse", rows(range(40), 0.4))
    mean = compare(str(base), str(worse))["score"]["difference"]["mean"]
    assert not compare(str(base), str(worse), fail_under=mean + 5e-10)["failed"]
    assert compare(str(base), str(worse), fail_under=mean + 2e-9)["failed"]


def test_runs_over_other_inputs_budgets_or_caches_are_named(base: Path, tmp_path: Path) -> None:
    same = compare(str(base), f"{base}:full")
    assert same["differ"] == []
    assert not any(line.startswith("note") for line in comparison_lines(same))
    changes: dict[str, Any] = {"inputs": ["f00d"], "budget": {"max_prompt_tokens": 150}, "cache": "session"}
    other = compare(str(base), str(write_run(tmp_path / "other", rows(range(40), 0.5), **changes)))
    assert other["differ"] == ["inputs", "budget", "cache"]
    assert "note        the runs differ in inputs, budget, cache" in comparison_lines(other)


def failing(questions: range, strategy: str) -> list[dict[str, Any]]:
    error = {"kind": "BudgetError", "message": "no"}
    return [row(f"q{number}", strategy, None, error=error, dataset="a") for number in questions]


def test_strategies_that_are_not_compared_may_have_failed(tmp_path: Path) -> None:
    # soft failed throughout, extract in all but one question.
    made = [*rows(range(40), 0.5), *failing(range(40), "soft"), *failing(range(39), "extract")]
    folder = write_run(tmp_path / "r", [*made, row("q39", "extract", dataset="a")])
    for a, b in (("rag", "full"), ("router", "random"), ("task_rule", "full")):
        assert compare(f"{folder}:{a}", f"{folder}:{b}")["questions"] == 40
    # The oracle needs every strategy that has an answer, and says which had none.
    oracle = compare(f"{folder}:rag", f"{folder}:oracle")
    assert oracle["questions"] == 1
    assert oracle["b"]["unusable"] == {"soft": 40}
    assert comparison_lines(oracle)[1].endswith("soft: no row without an error (40 failed)")


def test_a_compared_strategy_without_a_usable_row_is_refused(base: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", [*failing(range(5), "rag"), *(row(f"q{n}", "full") for n in range(5))])
    with pytest.raises(ConfigurationError, match=r"no question that rag answered \(5 rows, 5 failed\)") as caught:
        compare(f"{folder}:rag", f"{folder}:full")
    assert "runs failed and missing rows again" in caught.value.hint
    with pytest.raises(ConfigurationError, match="has no task_rule"):
        compare(f"{folder}:task_rule", f"{folder}:full")


def test_a_difference_of_nothing_is_not_told_apart(base: Path) -> None:
    result = compare(str(base), f"{base}:rag")
    assert result["score"]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert not result["score"]["told_apart"]
    assert "no difference seen" in "\n".join(comparison_lines(result))


def test_derived_baselines_can_be_compared(base: Path) -> None:
    result = compare(f"{base}:random", f"{base}:oracle")
    assert result["score"]["difference"]["mean"] > 0


def test_lines(base: Path, tmp_path: Path) -> None:
    new = write_run(tmp_path / "new:1", rows(range(10, 52), 0.6), seed=2)
    lines = comparison_lines(compare(str(base), f"{new}:rag"))
    assert lines[0] == f"A  {base}  router  small-model  seed 1  cache cold  10 questions left out"
    assert lines[1] == f"B  {new}:rag  rag  small-model  seed 2  cache cold  12 questions left out"
    # q10 to q39: b holds 7 at 0.4, a holds 15 at 0.6 and 8 at 0.4, mean 0.5304; over datasets 0.4652
    assert lines[3].split()[:4] == ["all", "30", "0.47", "0.57"]
    assert [line.strip() for line in lines if line.startswith("  by")] == ["by dataset", "by task"]
    assert "B over A    seconds 1.00, prompt tokens 1.00" in lines
    assert lines[-1].startswith("verdict     B above A by 0.10 [")


def test_no_question_in_common_is_refused(base: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", rows(range(100, 110), 0.5))
    with pytest.raises(ConfigurationError, match="no question in common"):
        compare(str(base), str(other))


def test_scores_of_different_metrics_are_refused(base: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", rows(range(40), 0.5, metric="rouge_l"))
    with pytest.raises(ConfigurationError, match=r"is scored by f1 in .* and by rouge_l in"):
        compare(str(base), str(other))


def test_another_schema_is_refused(base: Path, tmp_path: Path) -> None:
    assert facts()["schema"] == 1
    other = write_run(tmp_path / "other", rows(range(40), 0.5), schema=2)
    with pytest.raises(ConfigurationError, match="schema 2"):
        compare(str(base), str(other))


def test_an_unknown_strategy_is_refused_with_those_that_there_are(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rag'") as caught:
        compare(str(base), f"{base}:rga")
    assert "full" in caught.value.hint
    alone = write_run(tmp_path / "alone", [row("q1", "rag")])
    with pytest.raises(UnknownNameError, match="'router'"):
        compare(str(base), str(alone))


def test_a_folder_that_is_not_there_is_refused(base: Path) -> None:
    with pytest.raises(ConfigurationError, match="not an evaluation run"):
        compare(str(base), "nowhere:rag")


def test_a_limit_that_is_no_number_is_refused(base: Path) -> None:
    with pytest.raises(ConfigurationError, match="fail_under"):
        compare(str(base), str(base), fail_under=float("nan"))

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.rows import row

from turnout.errors import ConfigurationError
from turnout.router.evaluation.derived import UNREACHABLE, best_single, derive, regret
from turnout.router.evaluation.rows import Run
from turnout.router.evaluation.statistics import macro
from turnout.router.evaluation.table import Arm, Table, tabulate


def table(rows: Iterable[dict[str, Any]]) -> Table:
    return tabulate(Run(Path("run"), {}, tuple(rows)))  # type: ignore[arg-type]


def costing(question_id: str, strategy: str, score: float, cost: float | None, **changes: Any) -> dict[str, Any]:
    usage = {"cost": cost, "total_s": 3.0 if cost is None else cost, **changes.pop("usage", {})}
    return row(question_id, strategy, score, usage=usage, **changes)


def both(question_id: str, full: float, rag: float, **changes: Any) -> list[dict[str, Any]]:
    return [costing(question_id, "full", full, 10.0, **changes), costing(question_id, "rag", rag, 2.0, **changes)]


def test_the_random_mixture_costs_what_the_router_costs() -> None:
    rows = [*both("q1", 1.0, 0.0), *both("q2", 0.2, 0.6)]
    rows += [costing("q1", "router", 1.0, 3.0), costing("q2", "router", 0.6, 5.0)]
    random = derive(table(rows), 8192)["random"]
    # Mean costs: full 10, rag 2, router 4; p = (4 - 2) / (10 - 2) = 0.25.
    assert random.cost.tolist() == [4.0, 4.0]
    assert random.scores.tolist() == pytest.approx([0.25 * 1.0 + 0.75 * 0.0, 0.25 * 0.2 + 0.75 * 0.6])
    assert "25%" in random.label


@pytest.mark.parametrize(("router_cost", "share"), [(1.0, "0%"), (50.0, "100%")])
def test_the_random_mixture_stays_between_full_and_rag(router_cost: float, share: str) -> None:
    rows = [*both("q1", 1.0, 0.0), costing("q1", "router", 1.0, router_cost)]
    assert f"full for {share} of" in derive(table(rows), 8192)["random"].label


def test_without_a_router_the_mixture_is_half_and_says_so() -> None:
    random = derive(table(both("q1", 1.0, 0.2)), 8192)["random"]
    assert random.scores.tolist() == [pytest.approx(0.6)]
    assert "no router" in random.label


def test_where_a_cost_is_not_known_all_are_counted_in_seconds() -> None:
    rows = both("q1", 1.0, 0.0)
    rows += [costing("q1", "router", 1.0, None, usage={"total_s": 6.0})]
    made = table(rows)
    # Seconds: full 10, rag 2, router 6; p = (6 - 2) / (10 - 2) = 0.5.
    assert made.unit == "seconds"
    assert "full for 50% of" in derive(made, 8192)["random"].label


@pytest.mark.parametrize(
    ("task", "tokens", "way"),
    [
        ("comparison", 60_000, "full"),
        ("summarisation", 60_000, "full"),
        ("hallucination", 100, "rag"),
        ("location", 2048, "full"),
        ("location", 2049, "rag"),
        ("reasoning", 2048, "full"),
        ("reasoning", 2049, "rag"),
    ],
)
def test_laras_rule(task: str, tokens: int, way: str) -> None:
    made = derive(table(both("q1", 1.0, 0.0, task=task, context_tokens=tokens)), 8192)["task_rule"]
    assert made.rows[0]["strategy"] == way
    assert made.scores.tolist() == [1.0 if way == "full" else 0.0]


def test_the_oracle_takes_the_best_and_of_equal_ones_the_cheaper() -> None:
    rows = [*both("q1", 1.0, 0.5), *both("q2", 0.5, 0.5), *both("q3", 0.1, 0.5)]
    rows += [costing(f"q{i}", "extract", 0.5, 1.0) for i in (1, 2, 3)]
    rows += [costing(f"q{i}", "closed", 1.0, 0.1) for i in (1, 2, 3)]
    oracle = derive(table(rows), 8192)["oracle"]
    assert [r["strategy"] for r in oracle.rows] == ["full", "extract", "extract"]
    assert oracle.label == UNREACHABLE


def test_a_variant_is_one_of_the_oracles_choices() -> None:
    rows = [*both("q1", 0.1, 0.2), costing("q1", "rapid:lossless", 0.9, 9.0)]
    assert derive(table(rows), 8192)["oracle"].rows[0]["strategy"] == "rapid:lossless"


def test_one_strategy_alone_has_no_baselines() -> None:
    assert derive(table([row("q1", "rag")]), 8192) == {}


def test_regret_is_of_means_over_datasets() -> None:
    rows = [
        *both("a1", 1.0, 0.0, dataset="a"),
        *both("a2", 0.0, 0.5, dataset="a"),
        *both("b1", 0.2, 0.8, dataset="b"),
    ]
    made = table(rows)
    arms = {**made.arms, **derive(made, 8192)}

    def mean(arm: Arm) -> float:
        return macro(arm.scores, made.datasets)

    # oracle: a (1 + 0.5)/2 = 0.75, b 0.8 -> 0.775; full: a 0.5, b 0.2 -> 0.35; rag: a 0.25, b 0.8 -> 0.525
    lacking = regret(arms, mean)
    assert lacking["full"] == pytest.approx(0.775 - 0.35)
    assert lacking["rag"] == pytest.approx(0.775 - 0.525)
    assert lacking["oracle"] == 0
    assert best_single(made) == "rag"


def test_of_equal_strategies_the_best_single_is_the_cheaper() -> None:
    assert best_single(table([*both("q1", 0.5, 0.5), costing("q1", "closed", 1.0, 0.1)])) == "rag"


def test_a_question_with_a_failed_or_missing_row_is_left_out_for_all() -> None:
    rows = [*both("q1", 1.0, 0.0), *both("q2", 1.0, 0.0), row("q3", "rag")]
    rows[2] = rows[2] | {"score": None, "error": {"kind": "EngineError", "message": "no"}, "usage": {}}
    made = table(rows)
    assert [question.id for question in made.questions] == ["q1"]
    assert (made.left_out, made.failed_rows) == (2, 1)
    with pytest.raises(ConfigurationError, match="no question that every strategy answered"):
        table(rows[2:])

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rows import row

from turnout.errors import ConfigurationError
from turnout.router.evaluation.derived import UNREACHABLE, best_single, derive, needed, regret
from turnout.router.evaluation.rows import Run
from turnout.router.evaluation.statistics import macro
from turnout.router.evaluation.table import Arm, Places, Table, tabulate


def table(rows: Iterable[dict[str, Any]]) -> Table:
    return tabulate(Run(Path("run"), {}, tuple(rows)))  # type: ignore[arg-type]


def costing(question_id: str, strategy: str, score: float, cost: float | None, **changes: Any) -> dict[str, Any]:
    """A row that costs twice its seconds."""
    usage = {"cost": cost, "total_s": 3.0 if cost is None else cost / 2, **changes.pop("usage", {})}
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
    assert random.label == "full for 25% of questions at random, else rag: the router's cost"


@pytest.mark.parametrize(("router_cost", "share", "side"), [(1.0, "0%", "less"), (50.0, "100%", "more")])
def test_the_random_mixture_stays_between_full_and_rag_and_says_so(router_cost: float, share: str, side: str) -> None:
    rows = [*both("q1", 1.0, 0.0), costing("q1", "router", 1.0, router_cost)]
    label = derive(table(rows), 8192)["random"].label
    assert label.startswith(f"full for {share} of")
    assert label.endswith(f"the router's cost can't be matched: {side} than either takes")


def test_the_seconds_of_a_decision_are_no_mismatch() -> None:
    rows = [*both("q1", 1.0, 0.0), costing("q1", "router", 1.0, 10.01)]
    assert derive(table(rows), 8192)["random"].label.endswith("the router's cost")


def test_where_full_and_rag_cost_the_same_there_is_nothing_to_match() -> None:
    rows = [costing("q1", name, 0.5, 4.0) for name in ("full", "rag", "router")]
    assert derive(table(rows), 8192)["random"].label.endswith("full and rag take the same cost")


def test_without_a_router_the_mixture_is_half_and_says_so() -> None:
    random = derive(table(both("q1", 1.0, 0.2)), 8192)["random"]
    assert random.scores.tolist() == [pytest.approx(0.6)]
    assert "no router" in random.label


def test_where_a_cost_is_not_known_all_are_counted_in_seconds() -> None:
    rows = both("q1", 1.0, 0.0)
    rows += [costing("q1", "router", 1.0, None, usage={"total_s": 3.0})]
    made = table(rows)
    # Seconds: full 5, rag 1, router 3; p = (3 - 1) / (5 - 1) = 0.5.
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


@pytest.mark.parametrize(
    ("name", "rests_on"),
    [
        ("rag", {"rag"}),
        ("task_rule", {"full", "rag"}),
        ("random", {"full", "rag", "router"}),
        ("oracle", {"full", "rag", "soft"}),
        ("rapid", set()),
    ],
)
def test_what_a_baseline_rests_on(name: str, rests_on: set[str]) -> None:
    assert needed(name, ["router", "full", "rag", "soft", "closed"]) == rests_on


def test_regret_is_of_means_over_datasets() -> None:
    rows = [
        *both("a1", 1.0, 0.0, dataset="a"),
        *both("a2", 0.0, 0.5, dataset="a"),
        *both("b1", 0.2, 0.8, dataset="b"),
    ]
    made = table(rows)
    arms = {**made.arms, **derive(made, 8192)}

    def mean(arm: Arm, at: Places) -> float:
        return macro(arm.scores[at], [made.datasets[place] for place in at])

    # oracle: a (1 + 0.5)/2 = 0.75, b 0.8 -> 0.775; full: a 0.5, b 0.2 -> 0.35; rag: a 0.25, b 0.8 -> 0.525
    lacking = regret(arms, mean, np.arange(3))
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
    apart = [row("q1", "full"), row("q2", "rag"), rows[2]]
    with pytest.raises(ConfigurationError, match=r"no question that every strategy answered \(3 rows, 1 failed\)"):
        table(apart)


def failed(question_id: str, strategy: str) -> dict[str, Any]:
    return row(question_id, strategy, None, usage={}, error={"kind": "EngineError", "message": "no"}) | {"usage": {}}


def test_a_strategy_whose_rows_all_failed_is_left_out_by_name() -> None:
    rows = [*both("q1", 1.0, 0.0), *both("q2", 1.0, 0.0), failed("q1", "soft"), failed("q2", "soft")]
    made = table(rows)
    assert [*made.arms] == ["full", "rag"]
    assert (made.unusable, made.failed_rows, made.left_out) == ({"soft": 2}, 2, 0)


def test_only_the_strategies_that_are_wanted_take_questions_away() -> None:
    rows = [*both("q1", 1.0, 0.0), *both("q2", 1.0, 0.0), row("q1", "extract")]
    made = Run(Path("run"), {}, tuple(rows))  # type: ignore[arg-type]
    assert len(tabulate(made).questions) == 1
    assert len(tabulate(made, {"full", "rag"}).questions) == 2
    with pytest.raises(ConfigurationError, match=r"no question that soft answered \(0 rows, 0 failed\)") as caught:
        tabulate(made, {"soft"})
    assert "runs failed and missing rows again" in caught.value.hint


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "seconds"), (1.009, "seconds"), (1.02, "cost"), (0.98, "cost")])
def test_a_cost_that_only_repeats_the_seconds_is_none(factor: float, unit: str) -> None:
    usage = {"total_s": 3.0, "cost": 3.0 * factor}
    rows = [row("q1", "full", usage={"total_s": 3.0, "cost": 3.0}), row("q1", "rag", usage=usage)]
    assert table(rows).unit == unit


def test_where_the_router_refused_nothing_was_paid() -> None:
    refused = row("q1", "router", 0.0, refused="over", chosen=None, usage={"total_s": 0.1, "cost": None})
    made = table([*both("q1", 1.0, 0.0), refused])
    assert (made.unit, made.arms["router"].cost.tolist()) == ("cost", [0.0])
    # Nor does it turn seconds into a cost of their own.
    local = [row("q1", name, usage={"total_s": 3.0, "cost": 3.0}) for name in ("full", "rag")]
    assert table([*local, refused]).unit == "seconds"

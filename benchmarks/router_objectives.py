"""The router after calibration, for each objective, against every baseline on a finished evaluation run.

    python benchmarks/router_objectives.py runs/smollm2-dev300 --set dev300

Each question is decided with a calibration that was fitted without its documents (`turnout eval run --cross-fit`); no
strategy is run again. Differences are paired, macro over datasets, with 95% intervals over documents; ratios are of
mean seconds. Reading everything falls back to rag where it was left out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import dev_data
import results_file

from turnout import Budget, evaluate
from turnout.router.evaluation.derived import derive, full_or_rag
from turnout.router.evaluation.rows import read_run
from turnout.router.evaluation.slices import interval_json
from turnout.router.evaluation.statistics import macro_interval
from turnout.router.evaluation.table import Arm, Table, tabulate
from turnout.router.evaluation.verdict import difference
from turnout.router.policy import OPTIMIZE

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run with router, rag and full")
    parser.add_argument("--set", required=True, help="the set of questions of the run")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the run")
    parser.add_argument("--passage-tokens", type=int, default=1000, help="those of the run")
    asked = parser.parse_args()
    dev_data.require()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for objective in OPTIMIZE:
            copy = shutil.copytree(asked.run, Path(folder) / objective)
            evaluate.run(
                [dev_data.DATA / "dev/questions"],
                [dev_data.DATA / "dev/documents"],
                copy,
                strategies=("router", "self_route"),
                question_set=asked.set,
                seed=asked.seed,
                cross_fit=True,
                budget=Budget(optimize=objective),
                passage_tokens=asked.passage_tokens,
            )
            found[objective] = compared(tabulate(read_run(copy)), int(read_run(copy).facts["model"]["window"]))
    results_file.write(f"router_objectives_{asked.run.resolve().name}", SEED, {"objectives": found})


def compared(table: Table, window: int) -> dict[str, Any]:
    """The router's figures, and it against each baseline."""
    router = table.arms["router"]
    others = {**table.arms, **derive(table, window), "full": full_or_rag(table)}
    return figures(router, table) | {
        "full_share": sum(row["chosen"] == "full" for row in router.rows) / len(router.rows),
        "decide_share_of_rag": results_file.spread(
            [
                (row["decide_s"] or 0.0) / seconds
                for row, seconds in zip(router.rows, table.arms["rag"].seconds, strict=True)
            ]
        ),
        "against": {
            name: figures(arm, table)
            | {
                "difference": difference(router.scores, arm.scores, table.clusters, table.datasets),
                "seconds_ratio": float(router.seconds.mean() / arm.seconds.mean()),
            }
            for name, arm in others.items()
            if name != "router"
        },
    }


def figures(arm: Arm, table: Table) -> dict[str, Any]:
    return {
        "score": interval_json(macro_interval(arm.scores, table.clusters, table.datasets)),
        "seconds": float(arm.seconds.mean()),
        "label": arm.label,
    }


if __name__ == "__main__":
    main()

"""Writes the lists of question ids in benchmarks/sets from the core questions of the evaluation data.

    python benchmarks/make_sets.py

The lists are committed, so this is run again only to change which questions a list holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dev_data

SETS = Path(__file__).parent / "sets"
DATASETS = (
    "squad",
    "covidqa",
    "hotpotqa_multidoc",
    "nq_multidoc",
    "fairytaleqa",
    "tatqa",
    "contractnli",
    "evidence_inference",
    "qmsum",
    "squality",
)
HEADER = "# Question ids of ../shared/data/dev/questions, one a line; written by benchmarks/make_sets.py.\n"


def main() -> None:
    dev_data.require()
    SETS.mkdir(exist_ok=True)
    for name, content in contents().items():
        (SETS / name).write_text(content, encoding="utf-8")


def contents() -> dict[str, str]:
    """Every list's file name and text."""
    core = {dataset: [row for row in dev_data.questions(dataset) if row["core"]] for dataset in (*DATASETS, "lara")}
    return {
        "dev300.txt": _file(
            "# The 30 core questions of each of ten datasets, sorted by id within a dataset.",
            [identity for dataset in DATASETS for identity in sorted(row["id"] for row in core[dataset])],
        ),
        "dev150.txt": _file(
            "# Every second question of dev300: within a dataset, sorted by task, answer type and id, so that both\n"
            "# halves hold as many of each kind, give or take one. Listed by id within a dataset.",
            [identity for dataset in DATASETS for identity in sorted(every_second(core[dataset]))],
        ),
        "lara90.txt": _file(
            "# The 90 core questions of LaRA, sorted by id.", sorted(row["id"] for row in core["lara"])
        ),
    }


def every_second(rows: list[dict[str, Any]]) -> list[str]:
    """The ids of every second question in the order of task, answer type and id."""
    ordered = sorted((row["task"], row["answer_type"], row["id"]) for row in rows)
    return [identity for _, _, identity in ordered[::2]]


def _file(comment: str, ids: list[str]) -> str:
    return HEADER + comment + "\n" + "".join(f"{identity}\n" for identity in ids)


if __name__ == "__main__":
    main()

"""Draws the LaRA predictions that lara_hand_checked.jsonl judges, and prints them without their automatic scores.

32 cases a task, 16 a mode, spread evenly over models and lengths, no question twice; the draw depends on --seed alone.

    python benchmarks/sample_lara_cases.py [--seed 7] [--first 0] [--count 16]
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from typing import Any

import dev_data

TASKS = ("location", "reasoning", "comparison", "hallucination")
MODES = ("long_context", "rag")
PER_TASK_AND_MODE = 16
PREDICTIONS = dev_data.DATA / "dev/routing/lara_predictions.jsonl.gz"


def draw(seed: int) -> list[dict[str, Any]]:
    """The cases in reading order: question and prediction joined, the three automatic scores left out."""
    asked = {q["id"]: q for q in dev_data.questions("lara")}
    rows = [row for row in dev_data.read(PREDICTIONS) if row["prediction"].strip()]
    rows.sort(key=lambda row: (row["id"], row["model"], row["mode"]))
    random.Random(seed).shuffle(rows)  # noqa: S311 - a sample, not a secret
    slots = [(task, mode) for _ in range(PER_TASK_AND_MODE) for task in TASKS for mode in MODES]
    used: set[str] = set()
    models: Counter[tuple[str, ...]] = Counter()
    lengths: Counter[tuple[str, ...]] = Counter()
    cases = []
    for task, mode in slots:
        free = [
            row
            for row in rows
            if row["task"] == task and row["mode"] == mode and asked[row["id"]]["question"] not in used
        ]

        def seen(row: dict[str, Any], task: str = task, mode: str = mode) -> tuple[int, ...]:
            model, length = row["model"], row["length"]
            return models[task, mode, model], lengths[task, mode, length], models[task, model], models[(model,)]

        row = min(free, key=seen)  # of equals the first, and the rows are shuffled
        question = asked[row["id"]]
        used.add(question["question"])
        lengths[task, mode, row["length"]] += 1
        models.update([(task, mode, row["model"]), (task, row["model"]), (row["model"],)])
        cases.append(
            {key: row[key] for key in ("id", "model", "mode", "task", "length", "domain", "prediction")}
            | {"question": question["question"], "gold": question["answers"][0]}
        )
    return sorted(cases, key=lambda case: (TASKS.index(case["task"]), case["id"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="number of the first case printed")
    parser.add_argument("--count", type=int, default=len(TASKS) * len(MODES) * PER_TASK_AND_MODE)
    arguments = parser.parse_args()
    dev_data.require()
    cases = draw(arguments.seed)
    for number, case in enumerate(cases[arguments.first : arguments.first + arguments.count], arguments.first):
        print(f"=== {number}  {case['id']}  {case['model']}  {case['mode']}  {case['task']}  {case['length']}")
        for part in ("question", "gold", "prediction"):
            print(f"--- {part}\n{case[part]}")
        print()


if __name__ == "__main__":
    main()

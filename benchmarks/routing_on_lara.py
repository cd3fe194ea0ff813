"""The router without any model, on LaRA's released predictions; and how far the rules that grade them can be trusted.

    python benchmarks/routing_on_lara.py

The verdicts in lara_hand_checked.jsonl are a reader's, on predictions drawn by sample_lara_cases.py; the groups of
documents in lara_groups.json are made by make_lara_groups.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import dev_data
import results_file

from turnout.router.evaluation import routing, routing_text

SEED = 1
CHECKED = Path(__file__).with_name("lara_hand_checked.jsonl")
GROUPS = Path(__file__).with_name("lara_groups.json")


def main() -> None:
    dev_data.require()
    began, busy = time.perf_counter(), time.process_time()
    result = routing.evaluate(
        dev_data.DATA / "dev/routing/lara_predictions.jsonl.gz",
        dev_data.DATA / "dev/questions/lara.jsonl.gz",
        SEED,
        CHECKED,
        GROUPS,
    )
    took = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - busy}
    path = results_file.write("routing_on_lara", SEED, {name: round(value, 1) for name, value in took.items()} | result)
    # One line for each part: with a line for each figure the file is three times as long.
    parts = json.loads(path.read_text(encoding="utf-8")).items()
    lines = (f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in parts)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print("\n".join(routing_text.lines(result)))


if __name__ == "__main__":
    main()

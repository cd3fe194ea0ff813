"""Keeps an evaluation run under benchmarks/results: its facts, figures and rows, without any text of the dataset.

    python benchmarks/publish_run.py runs/smollm2-dev300

Answers are left out because extractive ones are the dataset's own words; `turnout eval report` and `compare` read the
result as they read a run. The plots go to docs/figures, and the tables of docs/evaluation.md are printed.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.plots import write_svgs
from turnout.router.evaluation.rows import read_run, write_json_atomically

ROOT = Path(__file__).parents[1]


def main(folder: Path) -> None:
    run = read_run(folder)
    if run.facts["finished"] is None:
        raise SystemExit(f"{folder} is not finished: run `turnout eval run` again first")
    out = ROOT / "benchmarks/results" / folder.name
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(out / "run.json", run.facts)
    # Fixed time stamp: the same rows give the same file.
    with gzip.GzipFile(out / "rows.jsonl.gz", "wb", mtime=0) as file:
        for row in run.rows:
            file.write(json.dumps(without_text(dict(row))).encode() + b"\n")
    found = figures(run)
    write_json_atomically(out / "figures.json", found)
    write_svgs(found, run.rows, ROOT / "docs/figures" / folder.name)
    print("\n".join(tables(found)))


def without_text(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the answer's words, which may be the dataset's."""
    return row | {"answer": ""}


def tables(found: dict[str, Any]) -> list[str]:
    """The tables of docs/evaluation.md: strategies, tasks, datasets, lengths."""
    names = [entry["name"] for entry in found["strategies"]]
    lines = ["| | score [95%] | s/question | prompt tokens | regret | citations in gold |", "| --- |" + " --- |" * 5]
    for entry in found["strategies"]:
        score, cited = entry["score"], entry["citations"] or {}
        cells = (
            f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]",
            figure(entry["seconds"]["mean"], ".1f"),
            figure(entry["prompt_tokens"], ",.0f"),
            figure(entry["regret"], ".3f"),
            figure(cited.get("precision"), ".2f"),
        )
        lines.append(f"| {entry['name']} | {' | '.join(cells)} |")
    for key in ("tasks", "datasets", "lengths"):
        lines += ["", f"| {key} | n | {' | '.join(names)} |", "| --- |" + " --- |" * (len(names) + 1)]
        for entry in found[key]:
            scores = " | ".join(figure(entry["scores"][name]["mean"], ".3f") for name in names)
            lines.append(f"| {entry['name']} | {entry['questions']} | {scores} |")
    return lines


def figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

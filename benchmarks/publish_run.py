"""Keeps an evaluation run under benchmarks/results: its facts, figures and rows, without any text of the dataset.

    python benchmarks/publish_run.py runs/smollm2-dev300

Answers and messages are left out, because they may hold the dataset's own words, and of paths only the last part stays;
`turnout eval report` and `compare` read the result as they read a run. The plots go to docs/figures, and the tables of
docs/evaluation.md are printed.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from turnout.router.evaluation.figures import figures
from turnout.router.evaluation.plots import write_svgs
from turnout.router.evaluation.report_text import mean
from turnout.router.evaluation.rows import Row, Run, read_run, write_atomically, write_json_atomically

ROOT = Path(__file__).parents[1]

FACTS = (
    "schema", "turnout", "created", "finished", "embedder", "device", "cores", "versions", "inputs", "seed", "cache",
    "parallel", "limit", "budget", "strategies", "questions", "documents", "malformed", "failed_rows", "profile",
    "overhead", "prices", "passage_tokens", "over_window", "left_out", "cite", "cross_fit",
)  # fmt: skip
"""What is published of run.json as it stands; command, model and set are published without folders."""

# At the beginning of a word of the command, after a short option, and after = or a comma.
_PATH = re.compile(r"(^-\w|^|(?<=[=,]))([/~][^=,]*)")


def main(folder: Path, root: Path = ROOT) -> None:
    found = read_run(folder)
    if found.facts["finished"] is None:
        raise SystemExit(f"{folder} is not finished: run `turnout eval run` again first")
    name = folder.resolve().name
    out = root / "benchmarks/results" / name
    run = Run(out, public_facts(found.facts), tuple(map(without_text, found.rows)))
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(out / "run.json", run.facts)
    # Fixed time stamp: the same rows give the same file.
    with gzip.GzipFile(out / "rows.jsonl.gz", "wb", mtime=0) as file:
        for row in run.rows:
            file.write(json.dumps(row).encode() + b"\n")
    report = figures(run)
    write_atomically(out / "figures.json", json.dumps(report, ensure_ascii=False, allow_nan=False) + "\n")
    write_svgs(report, run.rows, root / "docs/figures" / name)
    print("\n".join(tables(report)))


def public_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run that others need, without anything of the machine's folders."""
    model = facts["model"]
    return {name: facts[name] for name in FACTS if name in facts} | {
        "command": shlex.join(_PATH.sub(_last_part, word) for word in shlex.split(facts["command"])),
        "model": {name: model.get(name) for name in ("fingerprint", "window", "parameters")}
        | {"name": _PATH.sub(_last_part, model["name"])},
        "set": facts.get("set") and PurePosixPath(facts["set"]).name,
    }


def _last_part(path: re.Match[str]) -> str:
    return path[1] + PurePosixPath(path[2]).name


def without_text(row: Row) -> Row:
    """A row without words that may be the dataset's: the answer, and what an error or a refusal says."""
    known: dict[str, Any] = {name: value for name, value in row.items() if name in Row.__annotations__}
    known["answer"] = ""
    if row["error"] is not None:
        known["error"] = {"kind": row["error"]["kind"], "message": ""}
    if "refused" in row:
        known["refused"] = ""
    return cast(Row, known)


def tables(found: dict[str, Any]) -> list[str]:
    """The tables of docs/evaluation.md: strategies, tasks, datasets, lengths."""
    names = [entry["name"] for entry in found["strategies"]]
    heads = ("score [95%]", "s/question", "prompt tokens", "regret", "quotes found", "citations in gold")
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for entry in found["strategies"]:
        score, cited = entry["score"], entry["citations"] or {}
        cells = (
            f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]",
            figure(entry["seconds"]["mean"], ".1f"),
            figure(entry["prompt_tokens"], ",.0f"),
            figure(entry["regret"], ".3f"),
            figure(cited.get("found"), ".2f"),
            figure(cited.get("precision"), ".2f"),
        )
        lines.append(f"| {entry['name']} | {' | '.join(cells)} |")
    for key in ("tasks", "datasets", "lengths"):
        lines += ["", f"| {key} | n | {' | '.join(names)} |", "| --- |" + " --- |" * (len(names) + 1)]
        for entry in found[key]:
            scores = " | ".join(figure(mean(entry["scores"][name]), ".3f") for name in names)
            lines.append(f"| {entry['name']} | {entry['questions']} | {scores} |")
    return lines


def figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

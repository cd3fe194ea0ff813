"""Every wording of the prompt for one model, over the questions of dev150: which one is best for it.

    python benchmarks/prompt_formats.py MODEL RUNS [--limit N]

MODEL is a packaged name or a folder, asked without an adapter and with `rag`; RUNS is a folder for the runs, which go
on where they were stopped; N is of each dataset. The result file holds each wording's score and its difference to the
one that the model gets, question by question.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dev_data
import results_file

from turnout import evaluate
from turnout.config import NO_ADAPTER, Settings
from turnout.engines import open_engine
from turnout.engines.local import LocalEngine
from turnout.engines.prompt import FORMATS, PromptFormat

SET, SEED = "dev150", 1


def main(model: str, runs: Path, limit: int | None) -> None:
    dev_data.require()
    settings = Settings.load(model=model, adapter=NO_ADAPTER)
    given = open_engine(settings).prompt_format.name
    for wording in FORMATS.values():
        facts = evaluate.run(
            [dev_data.DATA / "dev/questions"],
            [dev_data.DATA / "dev/documents"],
            runs / wording.name,
            strategies=["rag"],
            question_set=SET,
            limit=limit,
            seed=SEED,
            engine=worded(settings, wording),
            progress=lambda stage, done, total, name=wording.name: print(f"\r{name}: {stage} {done}/{total}", end=""),
            model=model,
            adapter=NO_ADAPTER,
        )
        print()
    name = facts["model"]["name"].rpartition("/")[2]
    results_file.write(
        f"prompt_formats_{name}",
        SEED,
        {"model": name, "set": SET, "limit": limit, "strategy": "rag", "given": given}
        | {"wordings": {wording: figures(runs, wording, given) for wording in FORMATS}},
    )


def worded(settings: Settings, wording: PromptFormat) -> LocalEngine:
    engine = open_engine(settings)
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{settings.model} is no local model: only those are told their wording here")
    engine.prompt_format = wording
    return engine


def figures(runs: Path, wording: str, given: str) -> dict[str, Any]:
    """Score, refusals, quotes, seconds; and the difference to the wording that the model gets."""
    (found,) = (
        entry
        for entry in evaluate.report(runs / wording, with_page=False)["figures"]["strategies"]
        if entry["name"] == "rag"
    )
    kept = {name: found[name] for name in ("score", "abstention", "citations", "seconds")}
    if wording == given:
        return kept
    return kept | {"difference": evaluate.compare(f"{runs / given}:rag", f"{runs / wording}:rag")["score"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    main(given.model, given.runs, given.limit)

"""How many tokens of passages serve a reader best: score and seconds of `rag` against its budget (OP-RAG, arXiv
2409.01666, Figure 3: with more passages the score rises, then falls).

    python benchmarks/passage_budget.py MODEL SET RUNS TOKENS... [--limit N] [--minutes M]

MODEL is a packaged name or a folder, SET a question set (dev300), RUNS a folder for the runs, which go on where they
were stopped, TOKENS the budgets; the first is the one that the others are compared with, question by question. --limit
takes the first N questions of the set, drawn, so that few of them are of all datasets; with a larger one the folder is
another. --minutes ends a slice between two questions; the same command goes on, and the last slice writes the result.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import dev_data
import results_file

from turnout import evaluate
from turnout.progress import Progress
from turnout.router.evaluation.sets import load_set

SEED = 1


class SliceOver(Exception):
    """The minutes of this slice are over; what is done is kept."""


def main(model: str, question_set: str, runs: Path, budgets: list[int], limit: int | None, minutes: float) -> None:
    dev_data.require()
    asked = question_set if limit is None else first_of(question_set, limit, runs)
    until = time.monotonic() + 60 * minutes
    for tokens in budgets:
        facts = evaluate.run(
            [dev_data.DATA / "dev/questions"],
            [dev_data.DATA / "dev/documents"],
            runs / str(tokens),
            strategies=["rag"],
            question_set=asked,
            seed=SEED,
            progress=told(tokens, lambda: time.monotonic() > until),
            model=model,
            passage_tokens=tokens,
        )
        print()
    named = facts["model"]["name"].rpartition("/")[2]
    results_file.write(
        f"passage_budget_{named.replace('+', '-')}",
        SEED,
        {"model": named, "set": question_set, "limit": limit, "strategy": "rag", "first": budgets[0]}
        | {"budgets": {str(tokens): figures(runs, tokens, budgets[0]) for tokens in budgets}},
    )


def first_of(question_set: str, limit: int, runs: Path) -> str:
    """A file with so many ids of a set, the same each time."""
    ids = list(load_set(question_set))
    Random(SEED).shuffle(ids)  # noqa: S311 - so that a few are of all datasets
    runs.mkdir(parents=True, exist_ok=True)
    file = runs / f"{Path(question_set).stem}-{limit}.txt"
    file.write_text("".join(f"{each}\n" for each in sorted(ids[:limit])), encoding="utf-8")
    return str(file)


def told(tokens: int, is_over: Callable[[], bool]) -> Progress:
    """Prints how far a budget is; raises SliceOver between two questions, once one is done."""

    def progress(stage: str, done: int, total: int) -> None:
        print(f"\r{tokens}: {stage} {done}/{total}", end="", flush=True)
        if stage == "evaluating" and done < total and is_over():
            raise SliceOver

    return progress


def figures(runs: Path, tokens: int, first: int) -> dict[str, Any]:
    """Score, tokens, seconds, what the citations hit; and the difference to the first budget."""
    report = evaluate.report(runs / str(tokens), with_page=False)["figures"]
    (found,) = (entry for entry in report["strategies"] if entry["name"] == "rag")
    kept = {name: found[name] for name in ("score", "abstention", "citations", "prompt_tokens", "seconds")}
    if tokens == first:
        return kept
    return kept | {"difference": evaluate.compare(f"{runs / str(first)}:rag", f"{runs / str(tokens)}:rag")["score"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("set")
    parser.add_argument("runs", type=Path)
    parser.add_argument("tokens", type=int, nargs="+")
    parser.add_argument("--limit", type=int, help="at most so many questions; all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    try:
        main(given.model, given.set, given.runs, given.tokens, given.limit, given.minutes)
    except SliceOver:
        print("\nthe same command goes on")

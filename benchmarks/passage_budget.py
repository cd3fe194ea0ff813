"""How many tokens of passages serve a reader best: score and seconds of `rag` against its budget (OP-RAG, arXiv
2409.01666, Figure 3: with more passages the score rises, then falls).

    python benchmarks/passage_budget.py MODEL SET RUNS TOKENS...

MODEL is a packaged name or a folder, SET a question set (dev300), RUNS a folder for the runs, which go on where they
were stopped, TOKENS the budgets; the first is the one that the others are compared with, question by question.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dev_data
import results_file

from turnout import evaluate

SEED = 1


def main(model: str, question_set: str, runs: Path, budgets: list[int]) -> None:
    dev_data.require()
    for tokens in budgets:
        facts = evaluate.run(
            [dev_data.DATA / "dev/questions"],
            [dev_data.DATA / "dev/documents"],
            runs / str(tokens),
            strategies=["rag"],
            question_set=question_set,
            seed=SEED,
            progress=lambda stage, done, total, of=tokens: print(f"\r{of}: {stage} {done}/{total}", end=""),
            model=model,
            passage_tokens=tokens,
        )
        print()
    named = facts["model"]["name"].rpartition("/")[2]
    results_file.write(
        f"passage_budget_{named.replace('+', '-')}",
        SEED,
        {"model": named, "set": question_set, "strategy": "rag", "first": budgets[0]}
        | {"budgets": {str(tokens): figures(runs, tokens, budgets[0]) for tokens in budgets}},
    )


def figures(runs: Path, tokens: int, first: int) -> dict[str, Any]:
    """Score, tokens, seconds, what the citations hit; and the difference to the first budget."""
    report = evaluate.report(runs / str(tokens), with_page=False)["figures"]
    (found,) = (entry for entry in report["strategies"] if entry["name"] == "rag")
    kept = {name: found[name] for name in ("score", "abstention", "citations", "prompt_tokens", "seconds")}
    if tokens == first:
        return kept
    return kept | {"difference": evaluate.compare(f"{runs / str(first)}:rag", f"{runs / str(tokens)}:rag")["score"]}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), list(map(int, sys.argv[4:])))

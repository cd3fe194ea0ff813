"""Predicted first word against measured, over 50 dev questions and both strategies, in the order of use.

    python benchmarks/predicted_first_word.py

Predictions are those of a user's first day: the machine's profile is measured by the first question, and the ledger
corrects from the third answer on. Each question is asked with `full` where it fits and with `rag`.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import dev_data
import results_file

from turnout import Budget, BudgetError, Text, Turnout
from turnout.config import Settings

DATASETS = ("squad", "covidqa", "contractnli", "fairytaleqa", "qmsum", "squality", "evidence_inference", "tatqa")
SEED = 1
QUESTIONS = 50


def main() -> None:
    dev_data.require()
    picked = sample()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(Settings.load().models)
        with Turnout(home=home) as t:
            for question, texts in picked:
                documents = [Text(text, title) for title, text in texts]
                for strategy in ("rag", "full"):
                    try:
                        answer = t.ask(question, documents, strategy=strategy, budget=Budget())
                    except BudgetError:  # full does not fit
                        continue
                    chosen = answer.decision[strategy]
                    rows.append(
                        {
                            "strategy": strategy,
                            "prompt_tokens": answer.usage.prompt_tokens,
                            "predicted_s": chosen.ttft_s,
                            "measured_s": answer.usage.ttft_s,
                            "predicted_total_s": chosen.total_s,
                            "measured_total_s": answer.usage.total_s,
                            "outside_engine_s": (answer.usage.ttft_s or 0) - (answer.usage.first_token_s or 0),
                        }
                    )
                    print(len(rows), strategy, rows[-1]["prompt_tokens"], round(chosen.ttft_s, 2), answer.usage.ttft_s)
    ratio = [row["measured_s"] / row["predicted_s"] for row in rows]
    figures: dict[str, Any] = {"questions": len(picked), "measured_over_predicted": results_file.spread(ratio)}
    for strategy in ("rag", "full"):
        mine = [row for row in rows if row["strategy"] == strategy]
        figures[strategy] = {
            "measured_over_predicted": results_file.spread([r["measured_s"] / r["predicted_s"] for r in mine]),
            "first_word_s": results_file.spread([r["measured_s"] for r in mine]),
            "outside_engine_s": results_file.spread([r["outside_engine_s"] for r in mine]),
        }
    results_file.write("predicted_first_word", SEED, figures | {"rows": rows})


def sample() -> list[tuple[str, list[tuple[str, str]]]]:
    """(question, [(title, text), ...]): core questions, an equal share of each dataset."""
    rng = random.Random(SEED)  # noqa: S311
    pools = {}
    for dataset in DATASETS:
        held = dev_data.documents(dataset)
        asked = [q for q in dev_data.questions(dataset) if q["core"]]
        rng.shuffle(asked)
        pools[dataset] = [
            (q["question"], [(held[i]["title"] or i, held[i]["text"]) for i in q["doc_ids"]]) for q in asked
        ]
    picked = []
    while len(picked) < QUESTIONS:
        for pool in pools.values():
            if pool and len(picked) < QUESTIONS:
                picked.append(pool.pop())
    return picked


if __name__ == "__main__":
    main()

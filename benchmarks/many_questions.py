"""Forty questions over one dev document: ask_many against always rag and always full, and the break-even count.

    python benchmarks/many_questions.py [--document ID] [--limit N] [--model M] [--optimize balanced]

The three are asked the same questions in the same order, each under a cache namespace of its own, so that none finds
what another one has read; ask_many comes first and knows the least of this machine. Seconds are those of answers
(total_s), which hold no loading and no indexing. The break-even count is predicted by the plan of the first question,
before anything is asked over the document, and measured where the summed seconds of always full fall below those of
always rag; beyond the last question it is worked out from the means of first and later seconds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file

from turnout import Answer, Budget, BudgetError, Decoding, Text, Turnout
from turnout.config import Settings
from turnout.router import series
from turnout.router.evaluation import items, metrics
from turnout.router.evaluation.items import Item

DOCUMENT = "locomo/conv-26"
QUESTIONS = 40
SEED = 0
ARMS = ("many", "rag", "full")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--document", default=DOCUMENT, help="its dataset comes before the slash")
    parser.add_argument("--limit", type=int, default=QUESTIONS, help="questions, at most")
    parser.add_argument("--model", help="as for turnout ask")
    parser.add_argument("--optimize", default="balanced", choices=["quality", "balanced", "latency", "cost"])
    given = parser.parse_args()
    dev_data.require()
    asked, document = questions(given.document, given.limit)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(Settings.load().models)
        with Turnout(given.model, home=home) as t:
            figures = compared(t, asked, document, Budget(optimize=given.optimize))
            figures |= {"model": t.model.full_name, "document": given.document, "optimize": given.optimize}
    results_file.write("many_questions", SEED, figures)


def questions(document: str, limit: int) -> tuple[list[Item], Text]:
    """The questions over one document alone, in the order of their file, and its text."""
    dataset = document.partition("/")[0]
    files = [dev_data.DATA / f"dev/questions/{dataset}.jsonl.gz"]
    asked = [item for item in items.read_items(files, lambda bad: None) if item.doc_ids == (document,)]
    held = dev_data.documents(dataset)
    if not asked or document not in held:
        raise SystemExit(f"{document} is no document of the dev data with questions of its own")
    return asked[:limit], Text(held[document]["text"], held[document]["title"] or document, document)


def compared(t: Turnout, asked: Sequence[Item], document: Text, budget: Budget) -> dict[str, Any]:
    """Seconds, scores and choices of each way, and the break-even count of full against rag."""
    for strategy in ("rag", "full"):  # loaded, measured and indexed, over another text
        t.ask("What is this?", Text("A short text about nothing in particular.", "warm.txt"), strategy=strategy)
    t.search("warm", document)
    texts = [items.prompt_question(item) for item in asked]
    plan = t.plan(texts[0], document, budget=budget, expected_questions=len(texts))
    if plan["full"].excluded_by is not None:
        raise SystemExit(f"full can't read this document: {plan['full'].excluded_by}; name a --model or a --document")
    answers: dict[str, list[Answer]] = {}
    for arm in ARMS:
        strategy = None if arm == "many" else arm
        decoding = Decoding(cache_namespace=f"many_questions/{arm}")
        made = t.ask_many(texts, document, budget=budget, strategy=strategy, decoding=decoding)
        answers[arm] = []
        try:
            for answer in made:
                answers[arm].append(answer)
                print(arm, len(answers[arm]), answer.decision.chosen, round(answer.usage.total_s, 2), flush=True)
        except BudgetError as error:
            raise SystemExit(f"{arm}: {error}") from error
    arms = {arm: figures(asked, made) for arm, made in answers.items()}
    predicted = series.break_even(plan["full"], plan["rag"])
    measured = crossing(*([a.usage.total_s for a in answers[arm]] for arm in ("full", "rag")))
    return {
        "questions": len(asked),
        "arms": arms,
        "predicted_break_even": predicted,
        "predicted": {name: {"first_s": plan[name].total_s, "later_s": plan[name].later_s} for name in ("full", "rag")},
        "measured_break_even": measured,
        "predicted_over_measured": predicted / measured if predicted and measured else None,
        "because": list(plan.because),
    }


def figures(asked: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
    scored = [metrics.score(i, a.text, a.abstained).value for i, a in zip(asked, answers, strict=True)]
    seconds = [answer.usage.total_s for answer in answers]
    return {
        "total_s": sum(seconds),
        "score": float(np.mean(scored)),
        "seconds": seconds,
        "scores": scored,
        "chosen": [answer.decision.chosen for answer in answers],
        "prompt_tokens": sum(answer.usage.prompt_tokens for answer in answers),
        "cached_tokens": sum(answer.usage.cached_tokens for answer in answers),
    }


def crossing(dear: Sequence[float], cheap: Sequence[float]) -> float | None:
    """The number of questions from which on the first takes less in all; None where it never does."""
    below = np.cumsum(dear) < np.cumsum(cheap)
    if below.any():
        return int(np.argmax(below)) + 1
    later = float(np.mean(dear[1:])) if len(dear) > 1 else dear[0]
    saved = float(np.mean(cheap)) - later
    return 1 + (dear[0] - float(np.mean(cheap))) / saved if saved > 0 else None


if __name__ == "__main__":
    main()

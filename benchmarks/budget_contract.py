"""Whether limits are kept: 200 dev questions with random limits, asked one after the other as a user would.

    python benchmarks/budget_contract.py [--questions N]

Each question gets one or two limits between half and four times what the unlimited choice is expected to take. Counted
are answers inside their limits, those that were cut at one, refusals and how long they took, whether the limits that a
refusal names as possible are accepted, predicted against measured seconds, and what deciding costs.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dev_data
import predicted_first_word
import results_file

from turnout import Budget, BudgetError, Cut, Done, EngineError, Text, Turnout
from turnout.config import Settings
from turnout.types import LIMITS

SEED = 1
FACTORS = (0.5, 4.0)
_FIELD = re.compile(r"(max_\w+)=([0-9.e+]+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200)
    most = parser.parse_args().questions
    dev_data.require()
    rng = random.Random(SEED)  # noqa: S311
    predicted_first_word.QUESTIONS = most
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(Settings.load().models)
        with Turnout(home=home) as t:
            for question, texts in predicted_first_word.sample():
                documents = t.add(*(Text(text, title) for title, text in texts)).documents
                usual = t.plan(question, documents)
                budget = Budget(**limits(usual[usual.chosen], rng))
                rows.append(asked(t, question, documents, budget))
                print(len(rows), rows[-1], flush=True)
    results_file.write("budget_contract", SEED, figures(rows) | {"rows": rows})


def limits(chosen: Any, rng: random.Random) -> dict[str, Any]:
    """One or two limits around what a candidate is expected to take."""
    drawn: dict[str, Any] = {}
    for name in rng.sample(sorted(LIMITS), rng.randint(1, 2)):
        expected = getattr(chosen, LIMITS[name])
        value = expected * math.exp(rng.uniform(*map(math.log, FACTORS)))
        drawn[name] = math.ceil(value) if name in ("max_prompt_tokens", "max_memory_bytes") else value
    if {"max_ttft_s", "max_total_s"} <= drawn.keys():
        drawn["max_total_s"] = max(drawn["max_total_s"], drawn["max_ttft_s"])
    return drawn


def asked(t: Turnout, question: str, documents: Any, budget: Budget) -> dict[str, Any]:
    started = time.perf_counter()
    row: dict[str, Any] = {"limits": budget.limits()}
    cut = None
    try:
        for event in t.stream(question, documents, budget=budget):
            if isinstance(event, Cut):
                cut = event.limit
            if isinstance(event, Done):
                answer = event.answer
    except BudgetError as error:
        row |= {"outcome": "refused", "refused_s": time.perf_counter() - started}
        named = {name: float(value) for name, value in _FIELD.findall(error.hint or "")}
        return row | {"named": named, "named_is_possible": bool(named) and possible(t, question, documents, named)}
    except EngineError as error:
        return row | {"outcome": "error", "error": error.message}
    chosen = answer.decision[answer.decision.chosen]
    decide_s = next(float(step.split()[1]) / 1000 for step in answer.trace if step.startswith("decide "))
    return row | {
        "outcome": "kept" if answer.budget.met else "broken",
        "broken": list(answer.budget.broken),
        "cut": cut,
        "strategy": chosen.strategy,
        "cached_tokens": answer.usage.cached_tokens,
        "predicted_total_s": chosen.total_s,
        "total_s": answer.usage.total_s,
        "index_s": answer.usage.index_s,
        "predicted_first_word_s": chosen.ttft_s,
        "first_word_s": answer.usage.ttft_s,
        "decide_s": decide_s,
    }


def possible(t: Turnout, question: str, documents: Any, named: dict[str, float]) -> bool:
    whole = {"max_prompt_tokens", "max_memory_bytes"}
    budget = Budget(**{name: int(value) if name in whole else value for name, value in named.items()})
    try:
        t.plan(question, documents, budget=budget)
    except BudgetError:
        return False
    return True


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    answered = [row for row in rows if row["outcome"] in ("kept", "broken")]
    refused = [row for row in rows if row["outcome"] == "refused"]
    whole = [row for row in answered if row["cut"] is None]
    rag = [row for row in answered if row["strategy"] == "rag"]
    return {
        "outcomes": Counter(row["outcome"] for row in rows),
        "cut": sum(row["cut"] is not None for row in answered),
        "kept_share": sum(row["outcome"] == "kept" for row in rows) / max(len(rows) - len(refused), 1),
        "broken_by": Counter(name for row in answered for name in row["broken"]),
        "refused_s": results_file.spread([row["refused_s"] for row in refused]) if refused else None,
        "named_is_possible": sum(row["named_is_possible"] for row in refused),
        "total_over_predicted": results_file.spread([row["total_s"] / row["predicted_total_s"] for row in whole]),
        "first_word_over_predicted": results_file.spread(
            [row["first_word_s"] / row["predicted_first_word_s"] for row in answered]
        ),
        "decide_s": results_file.spread([row["decide_s"] for row in answered]),
        "decide_share_of_rag": results_file.spread([row["decide_s"] / row["total_s"] for row in rag]) if rag else None,
    }


if __name__ == "__main__":
    main()

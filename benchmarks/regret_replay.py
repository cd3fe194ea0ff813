"""Regret measured on a replay of questions, against that of a whole evaluation; and whether measuring delays anybody.

    python benchmarks/regret_replay.py [--run DIR] [--limit N] [--share 0.3] [--delay N] [--model M] [--adapter A]

The questions of a run are asked one after the other, as a user would, with the ledger at log=full. Of a share, drawn as
in the product, the strategies that were not chosen answer too. The regret of a question is the best score of its
strategies less that of the chosen one, by the metric of its type. Beside its mean with a 95% interval over documents
stands the run's own over the same questions: the best of full and rag less the router. The run is to be of the same
reader, so give one of your own beside --model; what a run cut to the window does not count.

For the delay some questions are asked with pauses, first with nothing measured beside them and then with everything,
each time under another cache namespace; what is compared is what the caller waits.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dev_data
import numpy as np
import results_file

from turnout import BudgetError, Decoding, Text, Turnout
from turnout.config import Settings
from turnout.measuring import is_drawn
from turnout.router.evaluation import items, metrics
from turnout.router.evaluation.items import Item
from turnout.router.evaluation.rows import Row, Run, read_run
from turnout.router.evaluation.statistics import macro_interval

RUN = Path(__file__).parent / "results" / "smollm2-dev300"
SEED = 0
PAUSE_S = (2.0, 8.0)
STRATEGIES = ("full", "rag")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=RUN, help="an evaluation run with router, full and rag")
    parser.add_argument("--limit", type=int, default=500, help="questions of the run, at most, drawn")
    parser.add_argument("--share", type=float, default=0.3, help="of them, whose losers answer too")
    parser.add_argument("--delay", type=int, default=20, help="questions to measure the delay with; 0 for none")
    parser.add_argument("--model", help="as for turnout ask")
    parser.add_argument("--adapter", default="none", help="as for turnout ask; the default run has none")
    given = parser.parse_args()
    dev_data.require()
    run = read_run(given.run)
    whole = evaluated(run)
    picked = sorted(whole)
    random.Random(SEED).shuffle(picked)  # noqa: S311
    asked, texts, new_tokens = read(picked[: given.limit])
    if not asked:
        raise SystemExit(f"{given.run} has no question with a router's row and one of full or rag")
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(Settings.load().models)
        options: dict[str, Any] = {"home": home, "log": "full", "regret_max_s": 1e9, "adapter": given.adapter}
        with Turnout(given.model, **options) as t:
            figures = replayed(t, asked, texts, new_tokens, given.share)
            figures |= {"model": t.model.full_name, "run": given.run.name, "run_model": run.facts["model"]["name"]}
        if given.delay:
            figures["delay"] = delayed(given.model, options, asked[: given.delay], texts)
    every = interval([whole[item.id] for item in asked], asked)
    mean = figures["regret"]
    inside = mean is not None and mean["low"] <= every["mean"] <= mean["high"]
    figures |= {"evaluated": every, "agrees": inside}
    results_file.write("regret_replay", SEED, figures)


def evaluated(run: Run) -> dict[str, float]:
    """The regret of each question of a run, by id."""
    rows: dict[str, dict[str, Row]] = {}
    for row in run.rows:
        if row["error"] is None and "left_out" not in row and not row["truncated"]:
            rows.setdefault(row["question_id"], {})[row["strategy"]] = row
    found = {}
    for id_, by_strategy in rows.items():
        scores = [by_strategy[name]["score"] or 0.0 for name in STRATEGIES if name in by_strategy]
        if "router" in by_strategy and scores:
            found[id_] = max(scores) - (by_strategy["router"]["score"] or 0.0)
    return found


def read(ids: Sequence[str]) -> tuple[list[Item], dict[str, Text], dict[str, int]]:
    """Those of the questions that the dev data has, in this order; their documents by id; and how many new tokens
    their answers get in an evaluation."""
    every = {item.id: item for item in items.read_items([dev_data.DATA / "dev/questions"], lambda bad: None)}
    asked = [every[id_] for id_ in ids if id_ in every]
    texts = {}
    for dataset in sorted({item.dataset for item in asked}):
        needed = {doc for item in asked if item.dataset == dataset for doc in item.doc_ids}
        held = dev_data.documents(dataset)
        texts |= {doc: Text(held[doc]["text"], held[doc]["title"] or doc, doc) for doc in needed}
    return asked, texts, items.new_tokens(list(every.values()))


def replayed(
    t: Turnout, asked: Sequence[Item], texts: Mapping[str, Text], new_tokens: Mapping[str, int], share: float
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    measured: list[Item] = []
    refused = 0
    for number, item in enumerate(asked, start=1):
        documents, decoding = [texts[doc] for doc in item.doc_ids], Decoding(max_tokens=new_tokens[item.id])
        try:
            answer = t.ask(items.prompt_question(item), documents, decoding=decoding)
        except BudgetError:
            refused += 1
            continue
        if not is_drawn(answer.id, share):
            continue
        told = t.measure_regret(1, answers=[answer.id])
        own = metrics.score(item, answer.text, answer.abstained).value
        others = {
            each.strategy: metrics.score(item, each.text or "", bool(each.abstained)).value
            for each in t.beside(answer.id)
            if each.state == "answered"
        }
        measured.append(item)
        rows.append(
            {
                "question_id": item.id,
                "chosen": answer.decision.chosen,
                "score": own,
                "others": others,
                "regret": max([own, *others.values()]) - own,
                "left_out": told["left_out"],
            }
        )
        print(number, rows[-1], flush=True)
    regret = interval([row["regret"] for row in rows], measured) if rows else None
    return {"asked": len(asked), "refused": refused, "measured": len(rows), "regret": regret, "rows": rows}


def delayed(model: str | None, options: Mapping[str, Any], asked: Sequence[Item], texts: Mapping[str, Text]) -> Any:
    """Seconds that a caller waits, with nothing measured beside and with everything."""
    waited = {}
    for name, share in (("without", 0.0), ("with", 1.0)):
        rng = random.Random(SEED)  # noqa: S311
        decoding = Decoding(cache_namespace=f"regret_replay/{name}")
        waited[name] = []
        with Turnout(model, **options, regret=share) as t:
            t.ask("What is this?", Text("A short text.", "warm.txt"))
            for item in asked:
                documents = t.read([texts[doc] for doc in item.doc_ids])
                time.sleep(rng.uniform(*PAUSE_S))
                begun = time.perf_counter()
                try:
                    t.ask(items.prompt_question(item), documents, decoding=decoding)
                except BudgetError:
                    continue
                waited[name].append(time.perf_counter() - begun)
            print(name, sum(waited[name]), flush=True)
    ratio = sum(waited["with"]) / sum(waited["without"]) if sum(waited["without"]) else None
    return {"seconds": waited, "with_over_without": ratio}


def interval(values: Sequence[float], asked: Sequence[Item]) -> dict[str, float]:
    """The mean over data sets with its 95% interval over documents."""
    found = macro_interval(np.asarray(values), [items.cluster(item) for item in asked], [i.dataset for i in asked])
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": len(values)}


if __name__ == "__main__":
    main()

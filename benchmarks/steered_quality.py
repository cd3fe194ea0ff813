"""What steering does to answers: `steered` at several eta beside the whole text alone and the passages alone.

    python benchmarks/steered_quality.py [MODEL_FOLDER] [--questions N] [--context TOKENS] [--eta ETA ...]

Questions are from the development data (../shared/data/dev): short facts (squad, covidqa: token F1) and summaries of
meetings (qmsum: ROUGE-L), each over the text around its evidence. "full" reads that text, "rag" the paragraphs of it
that share most words with the question, and "steered ETA" is both at once (RAPID with our exact residual), greedy. Each
score has a 95% interval over documents, and its difference to full and to rag, question by question, another one. An
eta is worth its name where the difference to both is over 0 with its whole interval; else the default stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dev_data
import drafted_questions
import results_file
from drafted_questions import Asked

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.speculative.plan import DraftedContext, Speculation
from turnout.router.check import is_refusal
from turnout.router.evaluation.statistics import macro_interval, paired_difference
from turnout.router.evaluation.text_scores import rouge_l, token_f1
from turnout.types import Context, GenerationParams, Token

SEED = 1
SETS = ("squad", "covidqa", "qmsum")
SUMMARIES = ("qmsum",)
MOST = {"facts": 48, "summaries": 200}
ETAS = (2.0, 5.0, 10.0, 20.0)


def main(folder: Path, questions: int, context_tokens: int, etas: Sequence[float]) -> None:
    dev_data.require()
    engine = LocalEngine(folder, lookup=False)
    engine.open()
    given = drafted_questions.asked(engine, SETS, questions, context_tokens)
    scores: dict[str, list[float]] = {}
    began = time.perf_counter()
    for number, each in enumerate(given, 1):
        for name, context in arms(each, etas).items():
            scores.setdefault(name, []).append(score(engine, each, context))
        print(f"{number}/{len(given)} questions, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    figures = {
        "model": folder.name,
        "dtype": engine.dtype,
        "int8": engine.int8,
        "questions": len(given),
        "context_tokens": context_tokens,
        "draft_tokens": drafted_questions.DRAFT_TOKENS,
        "arms": {name: arm(scores, name, given) for name in scores},
    }
    results_file.write("steered_quality", SEED, figures)


def arms(each: Asked, etas: Sequence[float]) -> dict[str, Context]:
    """Name -> what is read."""
    task = "summarisation" if each.dataset in SUMMARIES else "location"
    found = {
        "full": Context((each.part,), each.question, task=task),
        "rag": Context(each.draft, each.question, task=task),
    }
    for eta in etas:
        how = Speculation("steered", eta=eta, gamma=4)
        found[f"steered {eta:g}"] = DraftedContext((each.part,), each.question, task=task, draft=each.draft, how=how)
    return found


def score(engine: LocalEngine, each: Asked, context: Context) -> float:
    """Of the answer; a refusal earns nothing."""
    is_summary = each.dataset in SUMMARIES
    params = GenerationParams(MOST["summaries" if is_summary else "facts"])
    text = "".join(event.text for event in engine.generate(context, params) if isinstance(event, Token)).strip()
    if is_refusal(text):
        return 0.0
    return (rouge_l if is_summary else token_f1)(text, each.answers)


def arm(scores: dict[str, list[float]], name: str, given: Sequence[Asked]) -> dict[str, Any]:
    """Its score over all and in each set, and what it is better than full and rag."""
    sets, documents = [each.dataset for each in given], [each.part.span.document_id for each in given]
    found: dict[str, Any] = {"score": dataclasses.asdict(macro_interval(scores[name], documents, sets, seed=SEED))}
    for dataset in dict.fromkeys(sets):
        inside = [value for value, of in zip(scores[name], sets, strict=True) if of == dataset]
        found[dataset] = sum(inside) / len(inside)
    for other in ("full", "rag"):
        if name != other:
            better = paired_difference(scores[name], scores[other], documents, sets, seed=SEED)
            found[f"over {other}"] = dataclasses.asdict(better)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--questions", type=int, default=60, help="of all sets together")
    parser.add_argument("--context", type=int, default=4096, help="most tokens of a document")
    parser.add_argument("--eta", type=float, nargs="+", default=list(ETAS))
    given = parser.parse_args()
    default = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(default.resolve(), given.questions, given.context, given.eta)

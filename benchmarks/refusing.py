"""From which doubt the default reader should refuse: questions of the valid fold, answered in pieces.

    python benchmarks/refusing.py [--questions N]

Each question is asked over about as much text as `rag` reads: answerable ones among other passages, questions bent so
that their own passage does not answer them (it is among the others too), and answerable ones without their passage. The
doubt is the probability of the refusal after the surest piece. For every threshold: which questions are refused, and
the score, which is the F1 of what can be answered and the share of what can't that is refused, for one question in ten
that can't be answered (and, beside it, for every other one). The threshold with the best score is
`turnout.engines.prompt.NUMBERED.refuse_above`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import dev_data
import results_file
import torch

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines import adapter_folder, models
from turnout.engines.local import LocalEngine
from turnout.router.citations import split_quotes
from turnout.router.evaluation.metrics import token_f1
from turnout.training import data, reader_scores, sheets
from turnout.training.data import Example, Passage
from turnout.training.reader_examples import used
from turnout.training.recipe import draws
from turnout.training.surroundings import parts
from turnout.types import Context, GenerationParams, Token

SEED = 4
TEXT_TOKENS = 1000
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 1.0)
UNANSWERABLE = 0.1
"""Share of questions that their text does not answer, in the score."""

PARAMS = GenerationParams(max_tokens=reader_scores.NEW_TOKENS)
ANSWERABLE, BENT, LEFT_OUT = "answerable", "bent", "left out"


@dataclass(frozen=True)
class Row:
    """One question: its kind, the doubt, and the F1 of its answer."""

    dataset: str
    kind: str
    doubt: float
    f1: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60, help="of each kind, at most")
    most = parser.parse_args().questions
    dev_data.require()
    settings = Settings.load()
    folder = models.model_folder(DEFAULT_MODEL, settings, role="generator")
    engine = LocalEngine(folder, DEFAULT_MODEL, adapter=adapter_folder(settings))
    engine.__dict__["prompt_format"] = replace(engine.prompt_format, refuse_above=2.0)
    engine.open()
    read = data.read(dev_data.DATA / "train", without=frozenset({"policyqa"}))
    desk = sheets.Desk.of(read, "valid", engine.count_text)
    rows = []
    for example, kind, shown in asked(read, desk, most):
        rows.append(row(engine, example, kind, shown))
        print(len(rows), rows[-1], flush=True)
    curve = [{"refuse_above": limit, **figures(rows, limit)} for limit in THRESHOLDS]
    best = max(curve, key=lambda point: point["score"])
    counts = {kind: sum(row.kind == kind for row in rows) for kind in (ANSWERABLE, BENT, LEFT_OUT)}
    found = {"model": engine.model.fingerprint, "questions": counts, "best": best, "curve": curve}
    results_file.write("refusing", SEED, found | {"rows": [vars(row) for row in rows]})


def asked(read: data.TrainingData, desk: sheets.Desk, most: int) -> Iterator[tuple[Example, str, list[Passage]]]:
    """Questions of each kind in turn, with the passages that they are asked over."""
    draw = draws("refusing", SEED)
    examples = used(read, "valid")
    draw.shuffle(examples)
    bent = [example for example in examples if example.answer_type == "unanswerable"]
    clear = [
        example
        for example in examples
        if example.answer_type == "extractive" and desk.around[example.dataset].names_its_passage(example)
    ]
    kinds = ((ANSWERABLE, clear[:most]), (BENT, bent[:most]), (LEFT_OUT, clear[most : 2 * most]))
    for at in range(most):
        for kind, of in kinds:
            if at < len(of):
                example, gold = of[at], desk.passages[of[at].passage]
                room = TEXT_TOKENS - (0 if kind == LEFT_OUT else desk.count(gold.text))
                others = desk.around[example.dataset].around(example, gold, room, draw)
                place = draw.randint(0, len(others))
                here = [] if kind == LEFT_OUT else [gold]
                yield example, kind, [*others[:place], *here, *others[place:]]


def row(engine: LocalEngine, example: Example, kind: str, shown: list[Passage]) -> Row:
    context = Context(parts(shown, draws(SEED, example.id)), example.question)
    doubt = min(doubts(engine, context))
    text = "".join(event.text for event in engine.generate(context, PARAMS) if isinstance(event, Token))
    engine.forget()
    answer, _ = split_quotes(text)
    return Row(example.dataset, kind, doubt, token_f1(answer, example.answers) if kind == ANSWERABLE else 0.0)


def doubts(engine: LocalEngine, context: Context) -> Iterator[float]:
    """The refusal's probability after each piece, which stays in memory for the answer."""
    refusal, *_ = engine.tokenizer.encode_text(engine.prompt_format.refusal)
    for ids in engine.prompts(context):
        with engine.sequence(adapted=True) as sequence:
            yield float(torch.softmax(sequence.prefill(ids).float().reshape(-1), -1)[refusal])


def figures(rows: list[Row], limit: float) -> dict[str, Any]:
    shares = {
        kind: fmean(row.doubt >= limit for row in rows if row.kind == kind) for kind in (ANSWERABLE, BENT, LEFT_OUT)
    }
    f1 = fmean(row.f1 * (row.doubt < limit) for row in rows if row.kind == ANSWERABLE)
    refused = fmean(row.doubt >= limit for row in rows if row.kind != ANSWERABLE)
    return {
        "refused": shares,
        "f1": f1,
        "score": f1 * (1 - UNANSWERABLE) + refused * UNANSWERABLE,
        "score_of_halves": (f1 + refused) / 2,
    }


if __name__ == "__main__":
    main()

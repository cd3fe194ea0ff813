"""Speculative decoding beside plain decoding of the same engine, in one run, by kind of output.

    python benchmarks/speculative_speed.py [MODEL_FOLDER] [--questions N] [--context TOKENS] [--tokens N] [--kinds ...]

Questions are from the development data (../shared/data/dev), each over the text around its evidence. Kinds of output:

- facts, sampled facts: short answers (squad, covidqa), looked up in the prompt while they are written.
- quotes: the same questions, answered by the sentences of the text that hold the answer, looked up too.
- summaries: of meetings (qmsum), looked up too, which the engine does not do by itself: does it cost anything there?
- drafted summaries: the same, drafted by a reader of the paragraphs that share most words with the question (RAPID,
  lossless).

Both ways have the same weights, pages and prompts; a prompt is resident before either is timed, so that what is timed
is writing. The order turns with every question. What was measured of steps and outcomes goes on from answer to answer,
as it does in use; the first question of a kind is asked once before it counts. Reported for each kind: tokens a second
after the first token, the ratio of the sums and of each answer, the share of proposals that was accepted, and that of
the places that were judged, tokens for each verifying step, and in how many answers both wrote the same: rounding may
differ in bfloat16 and int8.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dev_data
import drafted_questions
import results_file
import torch

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.speculative.plan import Counts, DraftedContext
from turnout.types import Context, GenerationParams, Token

SEED = 1
FACTS, MEETINGS = ("squad", "covidqa"), ("qmsum",)
FACT_TOKENS = 48
QUOTE = "Copy from the text above, word for word, the sentences that answer this question: {question}"


@dataclass(frozen=True)
class Kind:
    """A kind of output.

    Attributes:
        sets: of questions.
        asks: what is asked, with {question} in it.
        most: tokens of an answer; None for as many as the caller says.
    """

    sets: tuple[str, ...]
    asks: str = "{question}"
    most: int | None = None
    temperature: float = 0.0
    is_drafted: bool = False


KINDS = {
    "facts": Kind(FACTS, most=FACT_TOKENS),
    "sampled facts": Kind(FACTS, most=FACT_TOKENS, temperature=0.7),
    "quotes": Kind(FACTS, QUOTE),
    "summaries": Kind(MEETINGS, "{question} Say it in several sentences."),
    "drafted summaries": Kind(MEETINGS, is_drafted=True),
}


@dataclass
class Totals:
    """Of one way over all answers of a kind."""

    tokens: int = 0
    seconds: float = 0.0
    rates: list[float] = field(default_factory=list)

    def add(self, tokens: int, seconds: float) -> None:
        """An answer's tokens after the first."""
        if tokens > 1 and seconds > 0:
            self.tokens += tokens - 1
            self.seconds += seconds
            self.rates.append((tokens - 1) / seconds)

    @property
    def token_s(self) -> float:
        return self.seconds / self.tokens if self.tokens else float("nan")


def main(folder: Path, kinds: Sequence[str], questions: int, context_tokens: int, most: int) -> None:
    dev_data.require()
    engine = LocalEngine(folder)
    engine.open()
    figures: dict[str, Any] = {
        "model": folder.name,
        "dtype": engine.dtype,
        "int8": engine.int8,
        "threads": torch.get_num_threads(),
        "questions": questions,
        "context_tokens": context_tokens,
        "most_tokens": most,
        "kinds": {},
    }
    began = time.perf_counter()
    sets = dict.fromkeys(KINDS[name].sets for name in kinds)
    given = {each: drafted_questions.asked(engine, each, questions, context_tokens) for each in sets}
    for name in kinds:
        kind = KINDS[name]
        asked = contexts(kind, given[kind.sets])
        params = GenerationParams(kind.most or most, kind.temperature, seed=SEED if kind.temperature else None)
        figures["kinds"][name] = compared(engine, asked, params)
        print(f"{name}: {time.perf_counter() - began:.0f} s so far", file=sys.stderr, flush=True)
    results_file.write("speculative_speed", SEED, figures)


def contexts(kind: Kind, given: Sequence[drafted_questions.Asked]) -> list[tuple[Context, Context]]:
    """(plain, with proposals) of each question."""
    found: list[tuple[Context, Context]] = []
    for each in given:
        asks = kind.asks.format(question=each.question)
        if kind.is_drafted:
            plain = Context((each.part,), asks, task="summarisation")
            found.append((plain, DraftedContext(plain.parts, asks, task=plain.task, draft=each.draft)))
        else:
            found.append((Context((each.part,), asks), Context((each.part,), asks)))
    return found


def compared(engine: LocalEngine, asked: Sequence[tuple[Context, Context]], params: GenerationParams) -> dict[str, Any]:
    """Both ways over the same questions in turn."""
    plain, ahead = Totals(), Totals()
    counts, same = Counts(), 0
    for is_ahead in (False, True):
        timed(engine, asked[0][is_ahead], params, is_ahead)
    for turn, pair in enumerate(asked):
        texts = {}
        for is_ahead in (False, True) if turn % 2 else (True, False):
            timed(engine, pair[is_ahead], GenerationParams(max_tokens=1), is_ahead)  # what is read is resident then
            texts[is_ahead], tokens, seconds = timed(engine, pair[is_ahead], params, is_ahead)
            (ahead if is_ahead else plain).add(tokens, seconds)
            if is_ahead:
                counts = together(counts, engine.drafted())
        same += texts[False] == texts[True]
    return {
        "plain": results_file.spread(plain.rates) if plain.rates else None,
        "speculative": results_file.spread(ahead.rates) if ahead.rates else None,
        "speedup": plain.token_s / ahead.token_s if plain.tokens and ahead.tokens else None,
        "speedups": results_file.spread([b / a for a, b in zip(plain.rates, ahead.rates, strict=False)])
        if plain.rates and len(plain.rates) == len(ahead.rates)
        else None,
        "tokens": {"plain": plain.tokens, "speculative": ahead.tokens},
        "acceptance": counts.rate,
        "agreement": counts.accepted / counts.judged if counts.judged else None,
        "tokens_per_step": 1 + counts.accepted / counts.rounds if counts.rounds else None,
        "proposed": counts.drafted,
        "same_answers": same,
        "answers": len(asked),
    }


def together(one: Counts, other: Counts) -> Counts:
    """Of several answers."""
    return Counts(
        one.rounds + other.rounds,
        one.drafted + other.drafted,
        one.accepted + other.accepted,
        one.refused + other.refused,
    )


def timed(engine: LocalEngine, context: Context, params: GenerationParams, is_ahead: bool) -> tuple[str, int, float]:
    """(text, tokens, seconds of all tokens after the first)."""
    engine.lookup = is_ahead
    text, began = "", time.perf_counter()
    last: Any = None
    for last in engine.generate(context, params):
        text += last.text if isinstance(last, Token) else ""
    seconds = time.perf_counter() - began - (last.first_token_s or 0.0)
    return text, last.completion_tokens, max(seconds, 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--questions", type=int, default=6, help="of each kind of output")
    parser.add_argument("--context", type=int, default=4096, help="most tokens of a document")
    parser.add_argument("--tokens", type=int, default=300, help="most tokens of a long answer")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    default = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(default.resolve(), given.kinds, given.questions, given.context, given.tokens)

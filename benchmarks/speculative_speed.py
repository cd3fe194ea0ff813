"""Speculative decoding beside plain decoding of the same engine, in one run, by kind of output.

    python benchmarks/speculative_speed.py [MODEL_FOLDER] [--questions N] [--context TOKENS]

Questions are from the development data (../shared/data/dev): short facts, which are looked up in the prompt while they
are written, and summaries, which a reader of passages drafts (RAPID, lossless) and for comparison nobody looks up. Both
ways have the same weights and prompts; the prompt is resident from a run before, so that what is timed is writing. The
order turns with every question. Reported are tokens a second after the first token, the ratio of the sums, the share of
proposals that was accepted, tokens for each verifying step, and in how many answers both wrote the same: rounding may
differ in bfloat16 and int8.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dev_data
import results_file
import torch

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines.adapter import shipped
from turnout.engines.local import LocalEngine
from turnout.engines.models import model_folder
from turnout.engines.speculative.plan import Counts, DraftedContext
from turnout.types import Context, GenerationParams, Part, Span, Token

SEED = 1
SETS = ("squad", "covidqa")
SUMMARY = "What is this text about?"


def main(folder: Path, name: str | None, questions: int, context_tokens: int) -> None:
    dev_data.require()
    adapter = shipped(name) if name else None
    plain, ahead = (LocalEngine(folder, name=name, adapter=adapter, lookup=lookup) for lookup in (False, True))
    figures: dict[str, Any] = {
        "model": folder.name,
        "dtype": plain.dtype,
        "int8": plain.int8,
        "threads": torch.get_num_threads(),
        "questions": questions,
        "context_tokens": context_tokens,
    }
    asked = contexts(plain, questions, context_tokens)
    facts = [context for context, _ in asked]
    figures["facts_by_lookup"] = compared(plain, ahead, facts, facts, GenerationParams(max_tokens=48))
    figures["sampled_facts_by_lookup"] = compared(
        plain, ahead, facts, facts, GenerationParams(max_tokens=48, temperature=0.7, seed=SEED)
    )
    whole = [Context(context.parts, SUMMARY, task="summarisation") for context in facts]
    drafted = [
        DraftedContext(context.parts, SUMMARY, task="summarisation", draft=draft)
        for context, (_, draft) in zip(whole, asked, strict=True)
    ]
    figures["summaries_by_rapid"] = compared(plain, ahead, whole, drafted, GenerationParams(max_tokens=160))
    results_file.write("speculative_speed", SEED, figures)


def contexts(engine: LocalEngine, questions: int, tokens: int) -> list[tuple[Context, tuple[Part, ...]]]:
    """As many questions of each set, the first one of each document, which is cut to `tokens` around the evidence; and
    for the drafter the paragraph that fits it best."""
    found: list[tuple[Context, tuple[Part, ...]]] = []
    for place, dataset in enumerate(SETS, 1):
        texts, seen = dev_data.documents(dataset), set()
        for row in dev_data.questions(dataset):
            document = row["doc_ids"][0]
            if len(found) >= questions * place // len(SETS):
                break
            if document in seen or not row["evidence"]:
                continue
            seen.add(document)
            start, text = cut(engine, texts[document]["text"], row["evidence"][0]["start"], tokens)
            part = Part(text, Span(document, start, start + len(text)))
            found.append((Context((part,), row["question"]), (best(part, row["question"]),)))
    if not found:
        raise SystemExit("no question was found; nothing was measured")
    return found


def cut(engine: LocalEngine, text: str, place: int, tokens: int) -> tuple[int, str]:
    """(start, what begins there) of about `tokens` tokens of a text at most, with `place` in their middle."""
    size = len(text)
    while True:
        start = max(min(place - size // 2, len(text) - size), 0)
        piece = text[start : start + size]
        have = engine.count_text(piece)
        if have <= tokens:
            return start, piece
        size = min(size * tokens // have, size - 1)


def best(part: Part, question: str) -> Part:
    """The paragraph that has most of the question's longer words; the first of those."""
    words = {word.lower() for word in question.split() if len(word) > 3}
    places, at = [], 0
    for paragraph in part.text.split("\n"):
        places.append((len(words & set(paragraph.lower().split())), -at, paragraph))
        at += len(paragraph) + 1
    _, before, text = max(places)
    start = part.span.start - before
    return Part(text, Span(part.span.document_id, start, start + len(text)))


def compared(
    plain: LocalEngine,
    other: LocalEngine,
    first: Sequence[Context],
    second: Sequence[Context],
    params: GenerationParams,
) -> dict[str, Any]:
    """Both engines over the same questions in turn. The first question is asked once before it counts."""
    totals = {"plain": [0, 0.0], "speculative": [0, 0.0]}
    rates: dict[str, list[float]] = {name: [] for name in totals}
    counts, same = Counts(), 0
    sides = {"plain": (plain, first), "speculative": (other, second)}
    for engine, given in sides.values():
        timed(engine, given[0], params)
    for turn in range(len(first)):
        texts = {}
        for name in sorted(sides, reverse=bool(turn % 2)):
            engine, given = sides[name]
            timed(engine, given[turn], GenerationParams(max_tokens=1))  # what is read is resident then
            texts[name], tokens, seconds = timed(engine, given[turn], params)
            totals[name][0] += tokens
            totals[name][1] += seconds
            if tokens > 1 and seconds:
                rates[name].append((tokens - 1) / seconds)
        drafted = other.drafted()
        counts = Counts(
            counts.rounds + drafted.rounds, counts.drafted + drafted.drafted, counts.accepted + drafted.accepted
        )
        same += texts["plain"] == texts["speculative"]
    return {
        **{name: results_file.spread(values) for name, values in rates.items() if values},
        "speedup": (totals["plain"][1] / max(totals["plain"][0], 1))
        / (totals["speculative"][1] / max(totals["speculative"][0], 1)),
        "acceptance": counts.rate,
        "accepted_per_round": counts.accepted / counts.rounds if counts.rounds else None,
        "drafted": counts.drafted,
        "same_answers": same,
        "answers": len(first),
    }


def timed(engine: LocalEngine, context: Context, params: GenerationParams) -> tuple[str, int, float]:
    """(text, tokens, seconds of all tokens after the first)."""
    text, began = "", time.perf_counter()
    last: Any = None
    for last in engine.generate(context, params):
        text += last.text if isinstance(last, Token) else ""
    seconds = time.perf_counter() - began - (last.first_token_s or 0.0)
    return text, last.completion_tokens, max(seconds, 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--context", type=int, default=3000, help="most tokens of a document")
    given = parser.parse_args()
    default = given.folder or model_folder(DEFAULT_MODEL, Settings.load(), role="generator")
    main(default.resolve(), None if given.folder else DEFAULT_MODEL, given.questions, given.context)

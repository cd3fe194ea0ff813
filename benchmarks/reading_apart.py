"""What reading in pieces is worth to the default reader: questions of the valid fold, read in pieces and whole.

    python benchmarks/reading_apart.py [--questions N]

Texts are a passage alone, the same among 3,000 tokens of other passages (questions that name what they are about), and
passages that do not answer. `whole` is
the reader as it was trained; nothing else differs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import dev_data
import results_file

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines import adapter_folder, models
from turnout.engines.local import LocalEngine
from turnout.router.check import is_refusal
from turnout.router.citations import split_quotes
from turnout.router.evaluation.metrics import token_f1
from turnout.router.evaluation.statistics import macro_interval
from turnout.training import data, reader_scores, sheets
from turnout.training.recipe import Recipe
from turnout.types import GenerationParams, Token

SEED = 3
PARAMS = GenerationParams(max_tokens=reader_scores.NEW_TOKENS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=25, help="of each set, at most")
    most = parser.parse_args().questions
    dev_data.require()
    settings = Settings.load()
    folder = models.model_folder(DEFAULT_MODEL, settings, role="generator")
    readers = {how: LocalEngine(folder, DEFAULT_MODEL, adapter=adapter_folder(settings)) for how in ("apart", "whole")}
    readers["whole"].__dict__["prompt_format"] = replace(readers["apart"].prompt_format, apart=False)
    read = data.read(dev_data.DATA / "train", without=frozenset({"policyqa"}))
    desk = sheets.Desk.of(read, "valid", readers["whole"].count_text)
    recipe = Recipe(evidence="none", seed=SEED)  # the engine numbers the sentences itself
    window = readers["whole"].model.window
    found = {
        task.name: compared(task, readers)
        for task in reader_scores.tasks(read, desk, recipe, most, window)
        if task.name.endswith("clear") or task.name == reader_scores.REFUSALS
    }
    results_file.write("reading_apart", SEED, {"model": readers["apart"].model.fingerprint, "sets": found})


def compared(task: reader_scores.Task, readers: dict[str, LocalEngine]) -> dict[str, Any]:
    """Figures of both ways and the paired difference of F1; of refusals, precision and recall."""
    figures: dict[str, Any] = {"texts": round(sum(map(tokens_of(readers["whole"]), task.lessons)) / len(task.lessons))}
    f1: dict[str, list[float]] = {}
    for how, engine in readers.items():
        begin = time.perf_counter()
        texts = [answer(engine, lesson) for lesson in task.lessons]
        seconds = (time.perf_counter() - begin) / len(texts)
        scored = reader_scores.score(task, texts)
        scored.pop("evidence", None)  # numbers are the engine's own here
        figures[how] = scored | {"seconds_a_question": seconds}
        f1[how] = [_f1(text, lesson.example.answers) for text, lesson in zip(texts, task.lessons, strict=True)]
        engine.forget()
        print(task.name, how, figures[how], flush=True)
    if task.name != reader_scores.REFUSALS:
        gains = [apart - whole for apart, whole in zip(f1["apart"], f1["whole"], strict=True)]
        passages = [lesson.example.passage for lesson in task.lessons]
        gain = macro_interval(gains, passages, [task.name] * len(gains))
        figures["difference"] = {"f1": gain.mean, "low": gain.low, "high": gain.high}
    return figures


def answer(engine: LocalEngine, lesson: reader_scores.Lesson) -> str:
    return "".join(event.text for event in engine.generate(lesson.context, PARAMS) if isinstance(event, Token))


def _f1(text: str, answers: tuple[str, ...]) -> float:
    said, _ = split_quotes(text)
    return 0.0 if is_refusal(said) else token_f1(said, answers)


def tokens_of(engine: LocalEngine) -> Any:
    return lambda lesson: engine.count(lesson.context)


if __name__ == "__main__":
    main()

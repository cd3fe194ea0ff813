"""A small set of questions over made-up documents, written as files that an evaluation reads."""

import json
from pathlib import Path
from typing import Any

TOWNS = ("Arle", "Brenn", "Corva", "Dorn", "Elst", "Farn")
YEARS = (1801, 1812, 1823, 1834, 1845, 1856)


def document(number: int, filler: int = 12) -> dict[str, Any]:
    town, year = TOWNS[number], YEARS[number]
    padding = [f"The market of {town} sold {n} kinds of cloth on day {n} of the fair." for n in range(filler)]
    text = " ".join([*padding[: filler // 2], f"The bridge of {town} was built in {year}.", *padding[filler // 2 :]])
    return {"doc_id": f"towns/{town.lower()}", "dataset": "towns", "title": town, "text": text}


def question(number: int) -> dict[str, Any]:
    town, year = TOWNS[number], YEARS[number]
    text = document(number)["text"]
    start = text.index(f"The bridge of {town}")
    fact = f"The bridge of {town} was built in {year}."
    return {
        "id": f"towns-{number}",
        "dataset": "towns",
        "task": "location",
        "question": f"When was the bridge of {town} built?",
        "answers": [str(year)],
        "answer_type": "extractive",
        "doc_ids": [f"towns/{town.lower()}"],
        "evidence": [{"doc_id": f"towns/{town.lower()}", "start": start, "end": start + len(fact), "text": fact}],
        "core": True,
    }


def unanswerable(number: int) -> dict[str, Any]:
    return question(number) | {
        "id": f"towns-none-{number}",
        "task": "hallucination",
        "question": f"Who painted the ceiling of the chapel in {TOWNS[number]}?",
        "answers": [],
        "answer_type": "unanswerable",
        "evidence": None,
    }


def write(folder: Path, questions: list[dict[str, Any]], documents: list[dict[str, Any]]) -> tuple[Path, Path]:
    """(questions file, documents file)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "questions.jsonl", folder / "documents.jsonl"
    for path, rows in zip(paths, (questions, documents), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def towns(folder: Path, count: int = 4, filler: int = 12) -> tuple[Path, Path]:
    """So many questions with an answer and one without, over a document each; two of them share one."""
    questions = [question(n) for n in range(count)] + [unanswerable(0)]
    return write(folder, questions, [document(n, filler) for n in range(count)])

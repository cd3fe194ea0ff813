"""A small folder of training data: passages of three sentences, questions that one of them answers, and some that none
does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

PLACES = ["island", "harbour", "tower", "market", "bridge", "chapel", "quarry", "meadow", "station", "library"]
NAMES = ["Marta", "Osterholm", "Lindqvist", "Berger", "Amsel", "Castor", "Dunya", "Ekberg"]


def rows(count: int = 24) -> tuple[list[dict], list[dict]]:
    """(contexts, examples): every fourth question is unanswerable, every sixth is of the valid fold."""
    contexts, examples = [], []
    for i in range(count):
        name, place = NAMES[i % len(NAMES)], PLACES[i % len(PLACES)]
        parts = [
            f"The {place} was quiet in year {1800 + i}. ",
            f"{name} mended the lamp of the {place} with {i + 2} copper wires. ",
            "Nobody came before the ferry left.",
        ]
        sentences, at = [], 0
        for part in parts:
            sentences.append([at, at + len(part.rstrip())])
            at += len(part)
        text = "".join(parts)
        contexts.append(
            {"ctx_id": f"c{i}", "dataset": "lamps", "title": f"Lamp {i}", "text": text, "sentences": sentences}
        )
        answerable = i % 4 != 3
        question = (
            f"Who mended the lamp of the {place} in year {1800 + i}?"
            if answerable
            else f"Who sold the {place} in 1700?"
        )
        examples.append(
            {
                "id": f"e{i}",
                "ctx_id": f"c{i}",
                "dataset": "lamps",
                "question": question,
                "answers": [name] if answerable else [],
                "answer_type": "extractive" if answerable else "unanswerable",
                "answer_sentences": [1] if answerable else [],
                "fold": "valid" if i % 6 in (2, 3) else "train",
            }
        )
    return contexts, examples


def write(folder: Path, contexts: list[dict], examples: list[dict]) -> Path:
    """Writes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("contexts", contexts), ("examples", examples)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder

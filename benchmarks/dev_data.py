"""Reads the evaluation data beside the project (../shared/data); benchmarks that need it say so where it is absent."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data"


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def questions(dataset: str) -> list[dict[str, Any]]:
    return read(DATA / f"dev/questions/{dataset}.jsonl.gz")


def documents(dataset: str) -> dict[str, dict[str, Any]]:
    return {d["doc_id"]: d for d in read(DATA / f"dev/documents/{dataset}.jsonl.gz")}


def require() -> None:
    """Ends the program with the reason where the data is not here."""
    if not DATA.exists():
        raise SystemExit(f"needs the evaluation data in {DATA.name}/ beside the project; nothing was measured")

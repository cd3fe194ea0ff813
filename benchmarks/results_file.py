"""Writes a result file: what was measured, where, with which versions, and by which command."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from turnout import system

RESULTS = Path(__file__).parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, p10, p90 and count."""
    ordered = sorted(values)
    at = lambda share: ordered[min(int(share * len(ordered)), len(ordered) - 1)]  # noqa: E731
    return {"median": statistics.median(ordered), "p10": at(0.1), "p90": at(0.9), "n": len(ordered)}


def rows(file: Path) -> list[dict[str, Any]]:
    """What a run that was stopped has kept, a row a line; a last line that was half written is taken away."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def write(name: str, seed: int, figures: dict[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json."""
    record = {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *map(_without_folder, sys.argv)]),
        "seed": seed,
        "device": system.device(),
        "versions": system.versions(),
        **figures,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))
    return path


def _without_folder(argument: str) -> str:
    """A path of this machine says nothing elsewhere: its last part is enough."""
    return Path(argument).name if Path(argument).is_absolute() else argument

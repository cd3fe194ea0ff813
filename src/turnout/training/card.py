"""The card of an adapter: what it is, what it was made of, and what it scores. Training begins it (`stages`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnout.engines.adapter import CARD
from turnout.engines.folder import read_json


def complete(adapter: Path, lessons: Mapping[str, int], curve: Path, scores: Mapping[str, Any]) -> None:
    """Adds how many lessons of each dataset and kind there were, the curve, and the scores of the valid fold."""
    rows = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    card = {**read_json(adapter / CARD), "lessons": dict(lessons), "curve": rows, "valid": dict(scores)}
    partial = adapter / f"{CARD}.partial"
    partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    partial.replace(adapter / CARD)

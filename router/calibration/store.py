"""What a calibration of the window found, and where it is kept: beside the cost profile of the model."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from turnout.database import Database
from turnout.types import ModelInfo

VERSION = 1


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Accuracy at one document size, with its 95% interval.

    Attributes:
        phrasing: "lexical", "paraphrase", or "all" for both together.
        share: mean share of the things asked that were named; over `accuracy` only where several are asked.
        p_value: of "no more than delta below the smallest size", for "all" after the smallest size.
    """

    size: int
    phrasing: str
    trials: int
    accuracy: float
    low: float
    high: float
    share: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class KindWindow:
    """The maximum effective context window of one kind of task, with the curve that it was read from.

    Attributes:
        mecw: document tokens; None where the kind is not measurable for the model, and `reason` says why.
        low, high: 95% interval of `mecw`.
        per_seed: `mecw` of each seed alone, in the order of the seeds.
        per_phrasing: `mecw` of each phrasing alone.
        is_largest: no fall was found up to the largest size, so `mecw` may be larger still.
    """

    kind: str
    mecw: int | None
    low: int | None
    high: int | None
    per_seed: tuple[int | None, ...]
    per_phrasing: Mapping[str, int | None]
    is_largest: bool
    reason: str
    measured: str
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """One calibration. Trials of each kind, size and seed: `documents` times `questions`; `texts` names the filler."""

    model: str
    fingerprint: str
    window: int
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    documents: int
    questions: int
    texts: str
    measured: str
    kinds: tuple[KindWindow, ...]

    @property
    def windows(self) -> dict[str, int | None]:
        """Kind of task -> MECW in tokens."""
        return {found.kind: found.mecw for found in self.kinds}

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> WindowProfile:
        kinds = tuple(
            KindWindow(
                **kind
                | {
                    "per_seed": tuple(kind["per_seed"]),
                    "curve": tuple(CurvePoint(**point) for point in kind["curve"]),
                }
            )
            for kind in fields["kinds"]
        )
        return cls(**{**fields, "sizes": tuple(fields["sizes"]), "seeds": tuple(fields["seeds"]), "kinds": kinds})


def save_window(database: Database, profile: WindowProfile) -> WindowProfile:
    """Keeps a calibration; kinds that an earlier one measured and this one did not are kept beside it.

    Returns:
        What is kept now.
    """
    before = load_window(database, profile.fingerprint)
    measured = {found.kind for found in profile.kinds}
    others = tuple(found for found in before.kinds if found.kind not in measured) if before else ()
    kept = dataclasses.replace(profile, kinds=profile.kinds + others)
    with database.write() as connection:
        connection.execute(
            sa.text("INSERT OR REPLACE INTO profiles (key, value, created) VALUES (:key, :value, :now)"),
            {"key": _key(profile.fingerprint), "value": json.dumps(kept.to_dict()), "now": time.time()},
        )
    return kept


def load_window(database: Database, fingerprint: str) -> WindowProfile | None:
    """The calibration kept for a model, or None."""
    with database.read() as connection:
        stored = connection.execute(
            sa.text("SELECT value FROM profiles WHERE key = :key"), {"key": _key(fingerprint)}
        ).scalar()
    return None if stored is None else WindowProfile.from_dict(json.loads(stored))


def windows(database: Database, model: ModelInfo) -> dict[str, int | None]:
    """Kind of task -> MECW in tokens, for `ModelProfile.windows`; empty where nothing was calibrated."""
    found = load_window(database, model.fingerprint)
    return found.windows if found else {}


def _key(fingerprint: str) -> str:
    return f"window/{VERSION}/{fingerprint}"

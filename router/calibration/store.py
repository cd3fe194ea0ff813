"""What a calibration of the window found, and where it is kept: beside the cost profile of the model."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from turnout.database import Database
from turnout.errors import ConfigurationError
from turnout.types import ModelInfo

VERSION = 3

FEW_DOCUMENTS = 10
"""Under this many documents a size (over all seeds), drawing them tells little of documents in general."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The mean score at one document size, with its 95% interval (`mecw.score_interval`).

    Attributes:
        phrasing: "lexical", "paraphrase", or "all" for both together.
        score: what MECW is found on: the mean share of the things asked that are named in the right place. Where one
            thing is asked (all kinds but "multi") that is the accuracy.
        low, high: of `score`.
        accuracy: share of the trials in which all is right.
        p_value: of "no more than delta below the smallest size", for "all" after the smallest size.
    """

    size: int
    phrasing: str
    trials: int
    score: float
    low: float
    high: float
    accuracy: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class KindWindow:
    """The maximum effective context window of one kind of task, with the curve that it was read from.

    Attributes:
        mecw: document tokens; None where the kind is not measurable for the model, and `reason` says why.
        low, high: resampling range of `mecw`, see `mecw.Effective`.
        per_seed: `mecw` of each seed alone, in the order of the seeds.
        per_phrasing: `mecw` of each phrasing alone.
        is_largest: no fall was found up to the largest size, so `mecw` may be larger still.
        few_documents: there were under `FEW_DOCUMENTS` a size, all seeds together.
        measured: day of the last answer.
        sizes, seeds, documents, questions: how it was measured: `documents` for each size and seed, with `questions` on
            each.
        texts: names the filler.
    """

    kind: str
    mecw: int | None
    low: int | None
    high: int | None
    per_seed: tuple[int | None, ...]
    per_phrasing: Mapping[str, int | None]
    is_largest: bool
    few_documents: bool
    reason: str
    measured: str
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    documents: int
    questions: int
    texts: str
    curve: tuple[CurvePoint, ...]

    @property
    def trials(self) -> int:
        """At each size."""
        return len(self.seeds) * self.documents * self.questions


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """What was calibrated of a model, each kind of task perhaps at another time and in another way."""

    model: str
    fingerprint: str
    window: int
    kinds: tuple[KindWindow, ...]

    @property
    def windows(self) -> dict[str, int | None]:
        """Kind of task -> the limit that was found, see `ModelProfile.windows`."""
        return {found.kind: None if found.is_largest else found.mecw for found in self.kinds if found.mecw is not None}

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> WindowProfile:
        return cls(**{**fields, "kinds": tuple(_kind(kind) for kind in fields["kinds"])})


def _kind(fields: Mapping[str, Any]) -> KindWindow:
    tuples = {name: tuple(fields[name]) for name in ("per_seed", "sizes", "seeds")}
    return KindWindow(**{**fields, **tuples, "curve": tuple(CurvePoint(**point) for point in fields["curve"])})


def check_replaces(database: Database, fingerprint: str, kinds: Iterable[str], trials: int, largest: int) -> None:
    """Refuses a calibration that would put less in the place of more.

    Args:
        trials: of each kind, at each size.
        largest: the largest size, in tokens.

    Raises:
        ConfigurationError: what is kept of one of the kinds has more trials or a larger size.
    """
    before = load_window(database, fingerprint)
    for found in before.kinds if before else ():
        if found.kind in kinds and (trials < found.trials or largest < found.sizes[-1]):
            raise ConfigurationError(
                f"the calibration kept for {found.kind!r} has {found.trials} trials a size up to {found.sizes[-1]:,} "
                f"tokens; this one has {trials} up to {largest:,}",
                hint="measure at least as much, or replace it with --replace",
            )


def save_window(database: Database, profile: WindowProfile, *, replace: bool = False) -> WindowProfile:
    """Keeps a calibration; kinds that an earlier one measured and this one did not are kept beside it.

    Args:
        replace: also where it is smaller than the one kept.

    Returns:
        What is kept now.

    Raises:
        ConfigurationError: it is smaller than the one kept, see `check_replaces`.
    """
    for found in () if replace else profile.kinds:
        check_replaces(database, profile.fingerprint, [found.kind], found.trials, found.sizes[-1])
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
    """`ModelProfile.windows` of a model; empty where nothing was calibrated."""
    found = load_window(database, model.fingerprint)
    return found.windows if found else {}


def _key(fingerprint: str) -> str:
    return f"window/{VERSION}/{fingerprint}"

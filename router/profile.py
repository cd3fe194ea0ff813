"""ModelProfile: what was measured of a model on this machine, and the cost curves fitted to it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from turnout.database import Database
from turnout.engines.device import machine
from turnout.engines.probe import CostSamples
from turnout.router.quality import QualityModel
from turnout.types import ModelInfo

VERSION = 1

SPREAD = (0.75, 1.25)
"""Measured over predicted engine seconds, 10th and 90th percentile, before the ledger knows better; rounded outwards
from measured_over_predicted in benchmarks/results/predicted_first_word.json."""


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Seconds to read and write with one model on one machine.

    prefill(n) = prefill_s + per_token_s * n + per_pair_s * n * n / 2, and a new token at context n takes
    token_s + token_per_context_s * n. `corrections` and `outside_s` come from the ledger, by strategy: measured over
    predicted engine seconds, and seconds to first word spent outside the engine. What is by strategy may be by strategy
    and task too (`learned`). `windows` comes from calibrating:
    kind of task -> the largest document size, in tokens, before the first at which a fall was measured; None where none
    was found up to the largest size measured, which is no limit. A kind that was not calibrated or is not measurable
    for the model is missing. Up to which size was measured: `calibration.store.load_window`, `KindWindow.sizes`.
    `quality` is what was measured of its strategies; None where nothing was. `spreads` and `lengths` come from the
    ledger too: by strategy the 10th and 90th percentile of measured engine seconds over their median, and by task those
    and the median of the tokens that answers took, over the expected. So does `agreement`, by strategy: how often a
    drafted token came true if those before it did, for the strategies that draft (`turnout.router.agreement`).
    """

    per_token_s: float
    per_pair_s: float
    token_s: float
    token_per_context_s: float
    prefill_s: float = 0.0
    measured: str | None = None
    corrections: Mapping[str, float] = field(default_factory=dict)
    outside_s: Mapping[str, float] = field(default_factory=dict)
    windows: Mapping[str, int | None] = field(default_factory=dict)
    quality: QualityModel | None = None
    spreads: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    lengths: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "quality"}
        mappings = {name: dict(value) for name, value in fields.items() if isinstance(value, Mapping)}
        return fields | mappings | {"quality": None if self.quality is None else self.quality.to_dict()}

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> ModelProfile:
        """What `record` wrote."""
        quality = fields.get("quality")
        return cls(**{**fields, "quality": None if quality is None else QualityModel.from_dict(quality)})

    def prefill_seconds(self, tokens: int, resident: int = 0, piece: int | None = None) -> float:
        """Seconds from acceptance to the first new token of a prompt of which the first `resident` tokens were read
        before; of one that is read in pieces of about `piece` tokens, each alone, those of all pieces."""
        if piece is not None and tokens > piece:
            pieces = math.ceil(tokens / piece)
            return pieces * self.prefill_seconds(tokens // pieces) * (tokens - resident) / tokens
        new = tokens - resident
        return self.prefill_s + self.per_token_s * new + self.per_pair_s * new * (tokens + resident) / 2

    def decode_seconds(self, context_tokens: int, new_tokens: int) -> float:
        """Seconds for `new_tokens` more tokens after `context_tokens`."""
        return new_tokens * (self.token_s + self.token_per_context_s * context_tokens)


Value = TypeVar("Value")


def learned(values: Mapping[str, Value], strategy: str, task: str, otherwise: Value) -> Value:
    """What the ledger says of a strategy's answers to questions of one task; of all its answers, where there were too
    few of that task."""
    return values.get(by_task(strategy, task), values.get(strategy, otherwise))


def by_task(strategy: str, task: str) -> str:
    """The name under which a profile keeps what it learned of a strategy and one task."""
    return f"{strategy} {task}"


UNMEASURED_REMOTE = ModelProfile(
    prefill_s=0.3, per_token_s=1 / 4000, per_pair_s=0.0, token_s=1 / 40, token_per_context_s=0.0
)
"""A guess for a server nobody has measured: 4,000 prompt and 40 new tokens a second. The ledger corrects it."""


def fit(samples: CostSamples) -> ModelProfile:
    """Least squares over the chunks of one prefill, seconds per token = per_token_s + per_pair_s * offset, and a line
    through the decode samples. Slopes below zero are noise and become zero."""
    offsets = np.array([offset + tokens / 2 for offset, tokens, _ in samples.prefill])
    rates = np.array([seconds / tokens for _, tokens, seconds in samples.prefill])
    per_token, per_pair = _line(offsets, rates)
    contexts = np.array([context for context, _ in samples.decode], dtype=float)
    seconds = np.array([per_new for _, per_new in samples.decode])
    token, per_context = _line(contexts, seconds)
    return ModelProfile(
        prefill_s=token,
        per_token_s=per_token,
        per_pair_s=per_pair,
        token_s=token,
        token_per_context_s=per_context,
        measured=time.strftime("%Y-%m-%d"),
    )


def fit_whole(samples: CostSamples) -> ModelProfile:
    """As `fit`, of prompts that were read as a whole: a line through their seconds, whose start is what a request costs
    however short it is. What attention costs beyond it can't be told from outside."""
    tokens = np.array([tokens for _, tokens, _ in samples.prefill], dtype=float)
    seconds = np.array([seconds for _, _, seconds in samples.prefill])
    start, per_token = _line(tokens, seconds)
    contexts = np.array([float(context) for context, _ in samples.decode] or [0.0])
    token, per_context = _line(contexts, np.array([each for _, each in samples.decode] or [0.0]))
    return ModelProfile(
        prefill_s=start,
        per_token_s=per_token,
        per_pair_s=0.0,
        token_s=token,
        token_per_context_s=per_context,
        measured=time.strftime("%Y-%m-%d"),
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope, both at least zero."""
    if len(x) < 2 or np.ptp(x) == 0:
        return float(np.median(y)), 0.0
    slope, intercept = np.polyfit(x, y, 1)
    if slope < 0:
        return float(np.median(y)), 0.0
    return max(float(intercept), float(y.min()) * 0.1), float(slope)


def load_or_measure(database: Database, model: ModelInfo, measure: Callable[[], CostSamples] | None) -> ModelProfile:
    """The stored profile of this model on this machine; else it is measured now and stored.

    Args:
        measure: runs the probe, or None where probing is not possible (a remote server is paid by the token).
    """
    with database.read() as connection:
        stored = connection.execute(
            sa.text("SELECT value FROM profiles WHERE key = :key"), {"key": _key(model)}
        ).scalar()
    if stored is not None:
        return ModelProfile.from_record(json.loads(stored))
    if measure is None:
        return UNMEASURED_REMOTE
    profile = fit(measure())
    save(database, model, profile)
    return profile


def save(database: Database, model: ModelInfo, profile: ModelProfile) -> None:
    """Keeps the costs of a model on this machine, in the place of what was kept before."""
    with database.write() as connection:
        connection.execute(
            sa.text("INSERT OR REPLACE INTO profiles (key, value, created) VALUES (:key, :value, :now)"),
            {"key": _key(model), "value": json.dumps(profile.record()), "now": time.time()},
        )


def _key(model: ModelInfo) -> str:
    return f"cost/{VERSION}/{model.fingerprint}/{machine()}"

"""Where a calibration of quality is kept: beside the cost profile of the model, as JSON."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from turnout.database import Database
from turnout.errors import ConfigurationError
from turnout.router.quality import QualityModel
from turnout.router.support_model import SupportModel


@dataclass(frozen=True, slots=True)
class Made:
    """What a calibration was made with. It holds for the same model, prompt and retrieval only.

    Attributes:
        prompt_format: the name of the reader's prompt format, "" where the engine's wording is not known.
        embedder: fingerprint of the embedder, None without one.
        strategies: those that were measured.
    """

    prompt_format: str
    embedder: str | None
    strategies: tuple[str, ...]
    questions: int
    measured: str


def save(
    database: Database, fingerprint: str, model: QualityModel, made: Made, support: SupportModel | None = None
) -> None:
    """Keeps a calibration in the place of an earlier one; without `support`, none of it is known any more."""
    kept = {"made": asdict(made), "quality": model.to_dict(), "support": None if support is None else support.to_dict()}
    value = json.dumps(kept)
    with database.write() as connection:
        connection.execute(
            sa.text("INSERT OR REPLACE INTO profiles (key, value, created) VALUES (:key, :value, :now)"),
            {"key": _key(fingerprint), "value": value, "now": time.time()},
        )


def load(database: Database, fingerprint: str, prompt_format: str, embedder: str | None) -> QualityModel | None:
    """The calibration of a model; None where there is none, or, with a warning, where it is of no use any more."""
    kept = _kept(database, fingerprint)
    if kept is None:
        return None
    if (why := _differs(kept, prompt_format, embedder)) is not None:
        _warn(why)
        return None
    try:
        return QualityModel.from_dict(kept["quality"])
    except ConfigurationError as error:
        _warn(f"it is {error.message}")
        return None


def load_support(database: Database, fingerprint: str, prompt_format: str, embedder: str | None) -> SupportModel | None:
    """What the calibration says of support; None where it says nothing, or is of no use, of which `load` warns."""
    kept = _kept(database, fingerprint)
    if kept is None or kept.get("support") is None or _differs(kept, prompt_format, embedder) is not None:
        return None
    try:
        return SupportModel.from_dict(kept["support"])
    except ConfigurationError as error:
        _warn(f"it is {error.message}")
        return None


def _kept(database: Database, fingerprint: str) -> dict[str, Any] | None:
    with database.read() as connection:
        stored = connection.execute(
            sa.text("SELECT value FROM profiles WHERE key = :key"), {"key": _key(fingerprint)}
        ).scalar()
    found: dict[str, Any] | None = None if stored is None else json.loads(stored)
    return found


def _differs(kept: dict[str, Any], prompt_format: str, embedder: str | None) -> str | None:
    """Why a calibration is of no use for what is used now; None where it is."""
    for name, now in (("prompt_format", prompt_format), ("embedder", embedder)):
        if kept["made"][name] != now:
            return f"it was made with another {name.replace('_', ' ')}"
    return None


def _warn(why: str) -> None:
    warnings.warn(
        f"the calibration of quality of this model is not used: {why}; calibrate again with turnout calibrate quality",
        stacklevel=3,
    )


def _key(fingerprint: str) -> str:
    return f"quality/{fingerprint}"

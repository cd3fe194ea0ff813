"""Expected quality of each strategy: a prior from LaRA's released predictions, corrected by what was measured here.

The model is linear and small. A question's columns are its shares of the kinds (`router/kinds.py`), each alone and
times the length position of its documents, and a few facts that LaRA does not vary. `rag` has a level, every other
strategy a gain over it, because strategies differ far less than questions do: both are sums over the columns. The
coefficients are Gaussian beliefs (`router/beliefs.py`), so an estimate has an interval and every observation counts.

The prior comes from `turnout.router.calibration.prior`: means by model size, fitted on LaRA's predictions of 13 models
(arXiv 2502.09977), and as its width how far single models lie from those means. Length counts relative to the window
(LaRA's windows are 128K, so 32K is a quarter full). Three assumptions are ours until something is measured:
summarising, which LaRA does not test, loses SUMMARY_FROM_PIECES where only passages are read; a strategy of which
nothing is known is UNKNOWN_GAIN worse than rag; and readers elsewhere differ by ELSEWHERE_SD more than LaRA's do.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.errors import ConfigurationError
from turnout.router.beliefs import Beliefs, Vector
from turnout.router.kinds import KINDS, after_search

if TYPE_CHECKING:
    from turnout.router.profile import ModelProfile
    from turnout.router.signals import Signals

VERSION = 1
"""Of the columns and the prior together: calibrations for another version are of no use."""

FACTS = ("options", "long answer", "several documents", "figures in the text", "beyond the effective window")
COLUMNS = (*KINDS, *(f"{kind} x length" for kind in KINDS), *FACTS)

BASE = "rag"
"""The strategy whose level is estimated; of the others the gain over it is."""

SUMMARY_FROM_PIECES = 0.15
UNKNOWN_GAIN = -0.05
UNKNOWN_SD = 0.15
FACT_SD = {"level": 0.15, "gain": 0.05}
"""Standard deviation of a fact's coefficient before anything is measured; its mean is 0."""

ELSEWHERE_SD = {"level": 0.15, "gain": 0.1}
"""Of a kind's coefficient, beyond what LaRA's models differ by: other texts, other readers, other scores."""

WIDTH = 1.2816
"""Standard deviations to either side that hold 80% of a normal distribution."""

SMALLEST, MIDDLE, LARGEST = 3e9, 8e9, 70e9
FILE = Path(__file__).parent / "priors" / "quality.json"


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected score in 0..1 with its 80% interval."""

    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Beliefs about the level of BASE and the gains of `others`, one block of COLUMNS each, in this order.

    Attributes:
        average: the columns of an average question, which stand in for what is not known of one, [COLUMNS].
        noise: variance of single observations, of the level and of gains.
        basis: what the beliefs rest on, in words.
        search: the shares of kinds are those after a search, where there was one. The prior's are not: on LaRA's
            questions that made no decision better (benchmarks/search_signals.py). A calibration finds out for itself.
    """

    others: tuple[str, ...]
    beliefs: Beliefs
    average: tuple[float, ...]
    noise: tuple[float, float]
    basis: str
    search: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for the version of the columns that it is made for."""
        return {
            "version": VERSION,
            "others": list(self.others),
            "mean": np.round(self.beliefs.mean, 6).tolist(),
            "covariance": np.round(self.beliefs.covariance, 8).tolist(),
            "average": list(self.average),
            "noise": list(self.noise),
            "basis": self.basis,
            "search": self.search,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> QualityModel:
        """What `to_dict` wrote.

        Raises:
            ConfigurationError: for another version, or damaged.
        """
        if fields.get("version") != VERSION:
            raise ConfigurationError(
                f"a calibration of quality of version {fields.get('version')!r}, not {VERSION}",
                hint="calibrate again: turnout calibrate quality",
            )
        mean, covariance = np.array(fields["mean"]), np.array(fields["covariance"])
        width = (1 + len(fields["others"])) * len(COLUMNS)
        if mean.shape != (width,) or covariance.shape != (width, width) or not np.isfinite(covariance).all():
            raise ConfigurationError("a damaged calibration of quality", hint="calibrate again")
        return cls(
            others=tuple(fields["others"]),
            beliefs=Beliefs(mean, covariance),
            average=tuple(fields["average"]),
            noise=(fields["noise"][0], fields["noise"][1]),
            basis=fields["basis"],
            search=fields["search"],
        )

    def expected(self, strategy: str, signals: Signals) -> Estimate:
        """What a strategy scores on questions like this one. One that nothing is known of counts as a risk."""
        at = self.columns(signals)
        known = self.knows(strategy)
        mean, sd = self.beliefs.expected(self.row(strategy if known else BASE, at))
        if not known:
            mean, sd = mean + UNKNOWN_GAIN, math.hypot(sd, UNKNOWN_SD)
        low, high = (min(max(mean + side * WIDTH * sd, 0.0), 1.0) for side in (-1, 1))
        return Estimate(min(max(mean, 0.0), 1.0), low, high)

    def knows(self, strategy: str) -> bool:
        """Whether anything was ever measured of it."""
        return strategy == BASE or strategy in self.others

    def columns(self, signals: Signals) -> tuple[float, ...]:
        """A question's value of each of COLUMNS; the average one's where it is missing or not a number."""
        return tuple(
            value if math.isfinite(value) else average
            for value, average in zip(columns(signals, search=self.search), self.average, strict=True)
        )

    def row(self, strategy: str, at: Sequence[float]) -> Vector:
        """The columns in the place of the level, and again in that of the strategy's gain."""
        blocks = np.zeros((1 + len(self.others), len(COLUMNS)))
        blocks[0] = at
        if strategy != BASE:
            blocks[1 + self.others.index(strategy)] = at
        return blocks.ravel()

    def gain(self, strategy: str, at: Sequence[float]) -> Vector:
        """What each column adds to the expected gain of a strategy over BASE, [COLUMNS]; 0 where nothing is known."""
        if strategy not in self.others:
            return np.zeros(len(COLUMNS))
        block = self.beliefs.mean.reshape(-1, len(COLUMNS))[1 + self.others.index(strategy)]
        parts: Vector = block * np.asarray(at)
        return parts


def estimate(strategy: str, signals: Signals, profile: ModelProfile) -> Estimate:
    """What a strategy scores on questions like this one, by the profile's calibration or else by the prior."""
    return (profile.quality or prior(signals.parameters)).expected(strategy, signals)


@functools.lru_cache(maxsize=16)
def prior(parameters: int | None) -> QualityModel:
    """The shipped beliefs about a model of which only the size is known, or not even that."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    size, unknown = size_position(parameters)
    blocks, spreads = [], []
    for outcome in ("level", "gain"):
        base, slope, shift = np.array(kept[outcome]["fixed"])
        blocks.append(np.concatenate([base + size * slope + unknown * shift, np.zeros(len(FACTS))]))
        spreads.append(np.array(kept[outcome]["covariance"]))
    place = KINDS.index("summarisation")
    blocks[1][place] = SUMMARY_FROM_PIECES
    width = len(COLUMNS)
    covariance = np.zeros((2 * width, 2 * width))
    for number, (outcome, spread) in enumerate(zip(("level", "gain"), spreads, strict=True)):
        block = covariance[number * width : (number + 1) * width, number * width : (number + 1) * width]
        block[: len(spread), : len(spread)] = spread + ELSEWHERE_SD[outcome] ** 2 * np.eye(len(spread))
        block[range(len(spread), width), range(len(spread), width)] = FACT_SD[outcome] ** 2
    return QualityModel(
        others=("full",),
        beliefs=Beliefs(np.concatenate(blocks), covariance),
        average=tuple(kept["average"]),
        noise=(kept["level"]["noise"], kept["gain"]["noise"]),
        basis=kept["basis"],
    )


def columns(signals: Signals, *, search: bool = False) -> tuple[float, ...]:
    """A question's value of each of COLUMNS; NaN for what is missing.

    Args:
        search: what a search found counts too, where there was one.
    """
    shares = signals.kinds or (math.nan,) * len(KINDS)
    if search and signals.search is not None:
        shares = after_search(shares, signals.search)
    length = length_position(signals.fill)
    effective = signals.effective_window
    facts = (
        float(signals.options),
        min(max(math.log2(max(signals.max_new_tokens, 1) / 48), 0.0) / 2.4, 1.0),
        min(math.log2(max(signals.documents, 1)) / 5, 1.0),
        min(10 * signals.digits, 1.0),
        0.0 if effective is None else min(math.log2(max(signals.full_tokens / effective, 1.0)) / 3, 1.0),
    )
    return (*shares, *(share * length for share in shares), *facts)


def length_position(fill: float) -> float:
    """0 up to a quarter of the window, 1 from a whole window on, on a log scale; NaN where it is not known."""
    if math.isnan(fill):
        return math.nan
    return min(max(math.log2(max(fill, 1e-6) / 0.25) / 2, 0.0), 1.0)


def size_position(parameters: int | None) -> tuple[float, float]:
    """(size, unknown): the size on a log scale, 0 at 8B, cut at LaRA's smallest and largest; (0, 1) where it is not
    known, as behind a server."""
    if parameters is None:
        return 0.0, 1.0
    return math.log10(min(max(parameters, SMALLEST), LARGEST) / MIDDLE), 0.0

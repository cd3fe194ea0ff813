"""Which kind of question it is, as a share for each kind: by its wording, or by that and what a search found.

LaRA (arXiv 2502.09977) shows that full context and retrieval differ by kind of question, in opposite directions, so the
kind is what quality is predicted from. It can't be read off a question with certainty (whether a text holds the answer
least of all), so nothing is decided by the likeliest kind: every kind counts by its share. The weights are fitted by
`turnout.router.calibration.kinds` and come with the package as JSON.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.retrieval.search_signals import SearchSignals
from turnout.router.cues import cues

KINDS = ("location", "reasoning", "comparison", "summarisation", "unanswerable")

FILE = Path(__file__).parent / "priors" / "kinds.json"


@dataclass(frozen=True, slots=True)
class KindModel:
    """Multinomial logistic regression over standardised features: `weights` [kinds, features], `bias` [kinds]."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def shares(self, features: Sequence[float]) -> tuple[float, ...]:
        """By kind, in the order of KINDS; the sum is 1."""
        logits = self.weights @ ((np.asarray(features) - self.mean) / self.scale) + self.bias
        odds = np.exp(logits - logits.max())
        return tuple((odds / odds.sum()).tolist())

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> KindModel:
        return cls(**{name: np.asarray(fields[name], dtype=float) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class SearchModel:
    """Logistic regression of "the text does not hold the answer" on the log odds by wording, then SEARCH_SIGNALS."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def shares(self, by_wording: Sequence[float], found: SearchSignals) -> tuple[float, ...]:
        """The shares by wording, with that of unanswerable as the search has it and the rest in proportion."""
        before = by_wording[_UNANSWERABLE]
        values = np.array([float(log_odds(np.array(before))), *found.values()])
        after = 1 / (1 + math.exp(-(float(self.weights @ ((values - self.mean) / self.scale)) + self.bias)))
        rest = (1 - after) / max(1 - before, 1e-9)
        return tuple(after if place == _UNANSWERABLE else share * rest for place, share in enumerate(by_wording))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SearchModel:
        arrays = {name: np.asarray(fields[name], dtype=float) for name in ("mean", "scale", "weights")}
        return cls(**arrays, bias=float(fields["bias"]))


_UNANSWERABLE = KINDS.index("unanswerable")


def log_odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of shares, which are kept off 0 and 1 by a thousandth."""
    kept: NDArray[np.float64] = np.clip(share, 1e-3, 1 - 1e-3)
    return np.log(kept / (1 - kept))


def shares(question: str) -> tuple[float, ...]:
    """The share of each of KINDS for a question, by its wording."""
    return _shipped()[0].shares(cues(question))


def after_search(by_wording: Sequence[float], found: SearchSignals) -> tuple[float, ...]:
    """The shares when the documents were searched too."""
    return _shipped()[1].shares(by_wording, found)


@functools.cache
def _shipped() -> tuple[KindModel, SearchModel]:
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    return KindModel.from_dict(kept["asked"]), SearchModel.from_dict(kept["searched"])

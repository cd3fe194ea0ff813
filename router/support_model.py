"""How likely an outcome is right by its support, as measured with a model: two logistic regressions over one row of
columns, fitted by `turnout.router.calibration.support`.

One gives the probability that an answer scores at least WELL, one that the question has no answer in the text. Each
outcome of a question is worth the probability that it is right: an answer the first, an abstention the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from turnout.errors import ConfigurationError
from turnout.router.beliefs import Vector
from turnout.router.checked import Checked
from turnout.router.support import HALF, IN_OWN_WORDS, NOT_JUDGED, Judgement, Support, alone
from turnout.types import Citation

VERSION = 1
"""Of the columns: calibrations for another version are of no use."""

WELL = 0.5
"""Score from which an answer counts as right."""

COLUMNS = (
    "level", "quote found", "quote not found", "matched", "held", "nothing new", "question held", "doubt",
    "doubt unknown", "disagreement", "own words", "abstained", "refused",
)  # fmt: skip

LEAST_DOUBT = 1e-4
"""Below it a doubt is none: columns are bounded."""

GRID = tuple(step / 100 for step in range(102))
"""Thresholds that risk is told at; at the last one, over 1, nothing is kept."""


def columns(support: Support) -> Vector:
    """The value of each of COLUMNS, 0 to 1, [COLUMNS]."""
    doubt = support.doubt
    return np.array(
        [
            1.0,
            float(support.found > 0),
            float(support.quoted > support.found),
            float(support.cited > support.found),
            support.held or 0.0,
            float(support.held is None and not support.abstained),
            support.asked,
            0.0 if doubt is None else 1 - math.log(min(max(doubt, LEAST_DOUBT), 1.0)) / math.log(LEAST_DOUBT),
            float(doubt is None),
            0.0 if support.agreement is None else 1 - support.agreement,
            float(support.task in IN_OWN_WORDS),
            float(support.abstained),
            float(support.refused),
        ]
    )


@dataclass(frozen=True, slots=True)
class Heads:
    """Weights [COLUMNS] of both regressions: that an answer is right, and that there is none in the text."""

    right: tuple[float, ...]
    nothing: tuple[float, ...]

    def of(self, support: Support) -> tuple[float, float]:
        """(probability that the answer is right, 0 of an abstention; that there is none in the text)."""
        at = columns(support)
        right, nothing = (_logistic(float(np.dot(weights, at))) for weights in (self.right, self.nothing))
        return (0.0 if support.abstained else right), nothing


@dataclass(frozen=True, slots=True)
class Bound:
    """What keeping first outcomes has cost on documents that `heads` were not fitted on.

    Attributes:
        totals: for each threshold of GRID, the sum over documents of the mean score that was lost, against the best
            strategy that was measured, on those of its questions whose first outcome is worth the threshold or more.
    """

    heads: Heads
    totals: tuple[float, ...]
    documents: int

    def keep_from(self, max_regret: float) -> float:
        """The least threshold whose expected loss is at most `max_regret`, by conformal risk control (Angelopoulos et
        al. 2022, arXiv 2208.02814, with losses of at most 1): (totals + 1) / (documents + 1) <= max_regret.

        Raises:
            ConfigurationError: there are too few documents for any threshold.
        """
        needed = documents_for(max_regret)
        if self.documents < needed:
            raise ConfigurationError(
                f"max_regret {max_regret:g} takes {needed:,} documents that were not fitted on, "
                f"the calibration has {self.documents:,}",
                hint=f"calibrate on at least {2 * needed:,} documents, or allow more regret",
            )
        fits = ((total + 1) / (self.documents + 1) <= max_regret for total in self.totals)
        return next((at for at, fit in zip(GRID, fits, strict=True) if fit), GRID[-1])


def documents_for(max_regret: float) -> int:
    """How many documents, beside those that are fitted on, a bound takes: with fewer not even no loss would do."""
    return math.ceil(round(1 / max_regret, 9)) - 1


@dataclass(frozen=True, slots=True)
class SupportModel:
    """A calibration of support.

    Attributes:
        keep_from: the probability from which a first outcome is kept; None where asking on was not measured to gain
            anything on documents that were left out, and nothing is asked on unless somebody wants it.
        basis: what it rests on, in words.
    """

    heads: Heads
    keep_from: float | None
    bound: Bound
    basis: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for the version of the columns that it is made for."""
        return {
            "version": VERSION,
            "heads": _heads(self.heads),
            "keep_from": self.keep_from,
            "bound": {
                "heads": _heads(self.bound.heads),
                "totals": [round(total, 6) for total in self.bound.totals],
                "documents": self.bound.documents,
            },
            "basis": self.basis,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SupportModel:
        """What `to_dict` wrote.

        Raises:
            ConfigurationError: for another version, or damaged.
        """
        if fields.get("version") != VERSION:
            raise ConfigurationError(
                f"a calibration of support of version {fields.get('version')!r}, not {VERSION}",
                hint="calibrate again: turnout calibrate quality",
            )
        bound = fields["bound"]
        heads, other = (Heads(tuple(f["right"]), tuple(f["nothing"])) for f in (fields["heads"], bound["heads"]))
        weights = (*heads.right, *heads.nothing, *other.right, *other.nothing)
        if len(weights) != 4 * len(COLUMNS) or len(bound["totals"]) != len(GRID) or not np.isfinite(weights).all():
            raise ConfigurationError("a damaged calibration of support", hint="calibrate again")
        return cls(
            heads, fields["keep_from"], Bound(other, tuple(bound["totals"]), bound["documents"]), fields["basis"]
        )


class ByModel:
    """Judges by a calibration.

    Args:
        keep_from: the probability from which an outcome is kept.
    """

    name = "calibrated"

    def __init__(self, heads: Heads, keep_from: float) -> None:
        self._heads, self._keep_from = heads, keep_from

    def judge(self, support: Support) -> Judgement:
        """See `Judgement`. Summaries are not judged, since they were not fitted on: they are kept unless nothing is."""
        if support.task == NOT_JUDGED and not support.abstained:
            return Judgement(self._keep_from <= 1, 1.0, False, "no single sentence bears a summary: it is not judged")
        right, nothing = self._heads.of(support)
        abstains = support.abstained or nothing > right
        worth = nothing if abstains else right
        what = "the text does not hold the answer" if abstains else "the answer is right"
        why = f"{worth:.0%} likely that {what}, {self._keep_from:.0%} is enough"
        return Judgement(worth >= self._keep_from, worth, abstains, why, worth)

    def pick(self, judged: Sequence[tuple[str, Judgement]]) -> int:
        """Which of (answer, judgement) of one question is given: the first that is most likely right."""
        worth = [each.worth for _, each in judged]
        return worth.index(max(worth))

    def settles(self, judged: Sequence[tuple[str, Judgement]]) -> bool:
        """Whether nothing else need be asked."""
        return any(each.keeps for _, each in judged)


def default_keep_from(model: SupportModel) -> float:
    """From where outcomes are kept that somebody wants judged: as measured, or where right is likelier than wrong."""
    return HALF if model.keep_from is None else model.keep_from


def probabilities(
    model: SupportModel | None, support: Support, question: str, checked: Checked
) -> tuple[float | None, tuple[Citation, ...]]:
    """(confidence, citations with their support): that the outcome is right, and that each found citation bears the
    answer by itself. None where nothing was calibrated, and of summaries."""
    if model is None or (support.task == NOT_JUDGED and not checked.abstained):
        return None, checked.citations
    right, nothing = model.heads.of(support)

    def borne(cited: Citation) -> Citation:
        if not cited.found:
            return cited
        return replace(cited, support=round(model.heads.of(alone(support, question, checked.text, cited))[0], 4))

    return round(nothing if checked.abstained else right, 4), tuple(map(borne, checked.citations))


def _heads(heads: Heads) -> dict[str, list[float]]:
    return {name: [round(weight, 6) for weight in getattr(heads, name)] for name in ("right", "nothing")}


def _logistic(at: float) -> float:
    return 1 / (1 + math.exp(-min(max(at, -30.0), 30.0)))

"""What the user's "good" and "bad" teach: one observation of the chosen strategy's score each, on top of all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from turnout.router.quality import BASE, QualityModel, prior
from turnout.router.signals import Signals

VARIANCE = 0.25
"""Of a verdict around the score that it stands for: that of a coin, since it knows no halves."""


def with_feedback(
    model: QualityModel | None, parameters: int | None, judged: Sequence[tuple[Mapping[str, Any], bool]]
) -> QualityModel | None:
    """The beliefs after what was judged; as they are where nothing was. A verdict on a strategy that was never measured
    says nothing of the others, and is too little to know it by.

    Args:
        model: a calibration; None for the prior of a model with so many `parameters`.
        judged: recorded decisions, each with whether the answer that followed was good.
    """
    before = model or prior(parameters)
    known = [
        (decision, good)
        for decision, good in judged
        if decision["signals"].get("kinds") and before.knows(_chosen(decision)["strategy"])
    ]
    if not known:
        return model
    rows = [before.row(_read(decision, before), _columns(decision, before)) for decision, _ in known]
    beliefs = before.beliefs.updated(rows, [float(good) for _, good in known], VARIANCE)
    return replace(before, beliefs=beliefs, basis=f"{before.basis}; {len(known)} answers that you judged")


def _columns(decision: Mapping[str, Any], model: QualityModel) -> tuple[float, ...]:
    return model.columns(Signals.from_record(decision["signals"]))


def _read(decision: Mapping[str, Any], model: QualityModel) -> str:
    """The strategy whose score the verdict is of: rag that read all there is was the whole text."""
    chosen = _chosen(decision)
    read_all = chosen["strategy"] == BASE and (chosen["prompt_tokens"] or 0) >= decision["signals"]["full_tokens"]
    name = "full" if read_all else str(chosen["strategy"])
    return name if name in model.others else BASE


def _chosen(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(c for c in decision["candidates"] if c["chosen"])
    return found

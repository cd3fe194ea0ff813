"""What a calibration of quality is worth, told of documents that it was not fitted on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from turnout.router import policy
from turnout.router.calibration.quality import Observed, held_out, reliability
from turnout.router.evaluation.statistics import Interval, macro, macro_interval
from turnout.router.kinds import KINDS
from turnout.router.profile import ModelProfile
from turnout.router.quality import BASE, COLUMNS, WIDTH, QualityModel
from turnout.types import Budget, Candidate, Exclusion

Rows = Mapping[tuple[str, str], Mapping[str, Any]]
Choose = Callable[[Observed], str]


def report(
    prior: QualityModel,
    fitted: QualityModel,
    observed: Sequence[Observed],
    rows: Rows,
    decisions: Mapping[str, Mapping[str, Any]],
    profile: ModelProfile,
    budget: Budget,
) -> dict[str, Any]:
    """Policies side by side, how reliable the expected scores are, and what was learned of each kind of question.

    Args:
        rows: of the run, by question and strategy.
        decisions: by id, with the costs that were predicted then.
        profile: of the model; its costs are those of the run's decisions already.
        budget: of the run.

    Returns:
        `policies` (`router` with each question's document left out, `prior` alone, and every strategy): macro score
        over data sets with its 95% interval, mean seconds and the share of full; `difference` of router and the best
        strategy; `reliability` of each strategy; `gains` of each strategy and kind.
    """
    pairs = list(held_out(prior, observed))
    models = {each.question_id: model for each, model in pairs}
    strategies = sorted({name for each in observed for name in each.scores})

    def decided(model_of: Callable[[Observed], QualityModel]) -> Choose:
        def choose(each: Observed) -> str:
            decision = decisions[rows[each.question_id, BASE]["decision_id"]]
            candidates = [
                _again(c, model_of(each), each) for c in decision["candidates"] if c["strategy"] in strategies
            ]
            asked = dataclasses.replace(profile, quality=model_of(each))
            return policy.decide(candidates, budget, each.signals, asked).chosen

        return choose

    choices: dict[str, Choose] = {
        "router": decided(lambda each: models[each.question_id]),
        "prior": decided(lambda each: prior),
    }
    choices |= {name: _always(name, rows) for name in strategies}
    scores = {name: _figures(choose, observed, rows) for name, choose in choices.items()}
    best = max(strategies, key=lambda name: scores[name]["macro"])
    datasets, groups = [each.dataset for each in observed], [each.group for each in observed]
    apart = macro_interval(scores["router"]["scores"] - scores[best]["scores"], groups, datasets)
    return {
        "policies": {
            name: {key: value for key, value in found.items() if key != "scores"} for name, found in scores.items()
        },
        "best_single": best,
        "difference": _interval(apart),
        "reliability": {name: reliability(pairs, name) for name in strategies},
        "gains": [_gain(fitted, name, kind) for name in fitted.others for kind in KINDS],
    }


def _always(strategy: str, rows: Rows) -> Choose:
    """One strategy for every question, and rag for those that are too long for it."""
    return lambda each: BASE if "left_out" in rows[each.question_id, strategy] else strategy


def _again(fields: Mapping[str, Any], model: QualityModel, each: Observed) -> Candidate:
    """A recorded candidate with the quality that a model expects."""
    broken = fields["excluded_by"]
    strategy = fields["strategy"]
    same = strategy == BASE and each.same_text
    found = model.expected("full" if same else strategy, each.signals)
    return Candidate(
        **{
            **fields,
            "quality": found.quality,
            "quality_low": found.low,
            "quality_high": found.high,
            "chosen": False,
            "excluded_by": None if broken is None else Exclusion(**broken),
            "reasons": (),
        }
    )


def _figures(choose: Choose, observed: Sequence[Observed], rows: Rows) -> dict[str, Any]:
    picks = [choose(each) for each in observed]
    taken = [rows[each.question_id, pick] for each, pick in zip(observed, picks, strict=True)]
    scores = np.array([row["score"] or 0.0 for row in taken])
    datasets, groups = [each.dataset for each in observed], [each.group for each in observed]
    return {
        "scores": scores,
        "macro": round(macro(scores, datasets), 4),
        "score": _interval(macro_interval(scores, groups, datasets)),
        "total_s": round(float(np.mean([row["usage"].get("total_s", 0.0) for row in taken])), 3),
        "full_share": round(float(np.mean([pick == "full" for pick in picks])), 4),
    }


def _interval(found: Interval) -> dict[str, float]:
    return {name: round(getattr(found, name), 4) for name in ("mean", "low", "high")}


def _gain(model: QualityModel, strategy: str, kind: str) -> dict[str, Any]:
    """What a strategy is expected to gain over rag for one kind, in documents of a quarter of the window."""
    at = [float(name == kind) for name in COLUMNS]
    mean, sd = model.beliefs.expected(model.row(strategy, at) - model.row(BASE, at))
    figures = {"gain": mean, "low": mean - WIDTH * sd, "high": mean + WIDTH * sd}
    return {"strategy": strategy, "kind": kind} | {name: round(value, 4) for name, value in figures.items()}

"""What asking another strategy would have gained over the questions of a finished run: score against seconds, how often
it was wrong to keep or to ask on, and abstention on unanswerable questions against Self-Route. No model is needed.

    python benchmarks/escalation.py RUN [--counts] [--name NAME]

Rows hold the signals of support since `turnout eval run` writes them; those that do not are counted by strategy. With
--counts they are taken by the counts of their citations alone, which knows neither what a quote holds of an answer nor
the reader's doubt. Calibrated policies are fitted, and their thresholds chosen, without the documents that they are
told of; intervals are 95%, by bootstrap over documents.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import results_file

from turnout.errors import ConfigurationError
from turnout.router.calibration import support as fitting
from turnout.router.escalation import Judge
from turnout.router.evaluation import escalating
from turnout.router.evaluation.escalating import Case, Played
from turnout.router.evaluation.rows import read_run
from turnout.router.evaluation.statistics import macro_interval
from turnout.router.support import ByRule, Judgement, Support
from turnout.router.support_model import WELL, ByModel

SEED = 1
DRAWS = 2000
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SELF_ROUTE = ("rag", "full")

JudgeOf = Callable[[int], Judge | None]


class SelfRoute:
    """Keeps whatever does not abstain, and gives the last outcome (arXiv 2407.16833)."""

    name = "self_route"

    def judge(self, support: Support) -> Judgement:
        return Judgement(not support.abstained, 1.0, support.abstained, "")

    def pick(self, judged: Sequence[tuple[str, Judgement]]) -> int:
        return len(judged) - 1

    def settles(self, judged: Sequence[tuple[str, Judgement]]) -> bool:
        return judged[-1][1].keeps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--name", default="escalation")
    options = parser.parse_args()
    run = read_run(options.run)
    rows: list[Mapping[str, Any]] = [dict(row) for row in run.rows]
    if options.counts:
        rows = [with_counts(row) for row in rows]
    found, lacking = escalating.cases(rows)
    for name, count in lacking.items():
        print(f"{count} rows of {name} do not hold signals of support")
    if not found:
        raise ConfigurationError(
            f"no question of {options.run} has signals of support",
            hint="run it again with this version, or take what counts of citations say with --counts",
        )
    result = figures(found)
    facts = {"run": options.run.name, "model": run.facts["model"], "finished": run.facts["finished"]}
    signals = "counts of citations" if options.counts else "all"
    results_file.write(options.name, SEED, facts | {"signals": signals, "lacking": lacking, **result})


def with_counts(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with what the counts of its citations say of support, where it says nothing else."""
    if row.get("support") or row["error"] is not None or "left_out" in row:
        return row
    counts = row["citations"]
    known = Support(
        task=row["task"],
        abstained=row["abstained"],
        refused=row["abstained"],
        quoted=counts.get("quoted", 0),
        found=counts.get("quoted_found", 0),
        cited=counts["found"],
        held=None,
        asked=0.0,
    )
    return {**row, "support": known.record()}


def figures(found: Sequence[Case]) -> dict[str, Any]:
    """Policies side by side."""
    first = [escalating.play(case, None) for case in found]
    policies: dict[str, tuple[Sequence[Case], JudgeOf]] = {
        "first": (found, lambda place: None),
        "self_route": (list(map(as_self_route, found)), lambda place: SelfRoute()),
        "rule": (found, lambda place: ByRule()),
    }
    curve: dict[float, list[Played]] = {}
    groups = {case.group for case in found}
    calibration = None
    if len(groups) >= fitting.FOLDS:
        own, heads, calibration = held_out(found)
        policies["calibrated"] = (found, lambda place: ByModel(heads[place], own[place]))
        for at in THRESHOLDS:
            curve[at] = [escalating.play(case, ByModel(heads[place], at)) for place, case in enumerate(found)]
    told = {}
    for name, (own_cases, judge_of) in policies.items():
        played = [escalating.play(case, judge_of(place)) for place, case in enumerate(own_cases)]
        told[name] = policy(own_cases, played, first)
    return {
        "questions": len(found),
        "documents": len(groups),
        "unanswerable": sum(case.unanswerable for case in found),
        "more_than_one_outcome": sum(len(case.outcomes) > 1 for case in found),
        "policies": told,
        "curve": [{"keep_from": at, **cost(found, played, first)} for at, played in curve.items()],
        "calibration": calibration,
    }


def held_out(found: Sequence[Case]) -> tuple[dict[int, float], dict[int, Any], dict[str, Any]]:
    """(threshold and heads of each question, chosen without its document; how reliable they are)."""
    own: dict[int, float] = {}
    heads: dict[int, Any] = {}
    for fitted, inside, outside in fitting.by_folds(found):
        keep_from = fitting.best([found[place] for place in inside], dict.fromkeys(range(len(inside)), fitted))
        own |= dict.fromkeys(map(int, outside), keep_from)
        heads |= dict.fromkeys(map(int, outside), fitted)
    bound = fitting.bound(found)
    bounds = {}
    for regret in (0.02, 0.05, 0.1, 0.2):
        try:
            bounds[str(regret)] = bound.keep_from(regret)
        except ConfigurationError as error:
            bounds[str(regret)] = error.message
    return own, heads, {"reliability": fitting.reliability(found, heads), "bounds": bounds}


def as_self_route(case: Case) -> Case:
    """A question's outcomes in Self-Route's order; where it has none of rag, as they are."""
    by_name = {outcome.strategy: outcome for outcome in case.outcomes}
    own = tuple(by_name[name] for name in SELF_ROUTE if name in by_name)
    return replace(case, outcomes=own or case.outcomes)


def policy(found: Sequence[Case], played: Sequence[Played], first: Sequence[Played]) -> dict[str, Any]:
    """Score, cost and errors of one policy.

    Of outcomes that were kept at once, those were kept falsely that are wrong where another strategy was right; of
    those that others were asked after, falsely those that were right. Of freely worded answers neither is told.
    """
    groups = [case.group for case in found]
    right = [[outcome.score >= WELL for outcome in case.outcomes] for case in found]
    graded = [case.is_graded and len(case.outcomes) > 1 for case in found]
    kept = [each.asked == 1 and is_graded for each, is_graded in zip(played, graded, strict=True)]
    asked_on = [each.asked > 1 and is_graded for each, is_graded in zip(played, graded, strict=True)]
    unanswerable = [case.unanswerable for case in found]
    abstained = [each.abstained for each in played]
    hits = [a and b for a, b in zip(abstained, unanswerable, strict=True)]
    return cost(found, played, first) | {
        "false_keep": share([k and not r[0] and any(r) for k, r in zip(kept, right, strict=True)], kept, groups),
        "false_escalate": share([a and r[0] for a, r in zip(asked_on, right, strict=True)], asked_on, groups),
        "abstention_precision": share(hits, abstained, groups),
        "abstention_recall": share(hits, unanswerable, groups),
    }


def cost(found: Sequence[Case], played: Sequence[Played], first: Sequence[Played]) -> dict[str, Any]:
    datasets, groups = [case.dataset for case in found], [case.group for case in found]
    score = macro_interval([each.score for each in played], groups, datasets, seed=SEED)
    gain = macro_interval([p.score - f.score for p, f in zip(played, first, strict=True)], groups, datasets, seed=SEED)
    return {
        "score": interval(score.mean, score.low, score.high),
        "gain": interval(gain.mean, gain.low, gain.high),
        "seconds": round(float(np.mean([each.seconds for each in played])), 3),
        "asked": round(float(np.mean([each.asked for each in played])), 3),
    }


def share(hits: Sequence[bool], among: Sequence[bool], groups: Sequence[str]) -> dict[str, Any] | None:
    """Hits among those that count, with an interval by documents drawn anew; None where nothing counts."""
    names = sorted(set(groups))
    sums = np.array(
        [
            [sum(m for m, g in zip(marks, groups, strict=True) if g == name) for name in names]
            for marks in (hits, among)
        ],
        dtype=float,
    )
    if not sums[1].sum():
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(names), (DRAWS, len(names)))
    tops, bottoms = sums[0][drawn].sum(axis=1), sums[1][drawn].sum(axis=1)
    low, high = np.percentile(tops[bottoms > 0] / bottoms[bottoms > 0], [2.5, 97.5])
    hit, counted = sums.sum(axis=1)
    return interval(hit / counted, low, high) | {"hits": int(hit), "among": int(counted)}


def interval(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"mean": round(float(mean), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


if __name__ == "__main__":
    main()

"""From rows to the figures of a report: one JSON value that the terminal, the page and other programs share.

Scores are means over datasets of each dataset's mean, with 95% intervals from a bootstrap over documents; within one
task, length band or dataset they are means over its questions. Seconds and tokens are means over questions.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout.router.evaluation import metrics
from turnout.router.evaluation.derived import best_single, derive, regret
from turnout.router.evaluation.rows import Row, Run
from turnout.router.evaluation.slices import by_dataset, by_length, by_task, closed_book, interval_json, wins
from turnout.router.evaluation.statistics import macro, macro_interval
from turnout.router.evaluation.table import (
    Arm,
    Table,
    Vector,
    in_order,
    is_single,
    predicted_and_measured,
    tabulate,
    used,
)
from turnout.router.evaluation.verdict import difference, drawn_units, verdicts
from turnout.types import LIMITS

FACTS = (
    "turnout", "created", "finished", "command", "model", "device", "cores", "versions", "seed", "cache", "parallel",
    "set", "limit", "budget", "over_window", "questions", "documents", "malformed", "overhead", "prices",
    "cross_fit",
)  # fmt: skip
"""What a report repeats of run.json."""


def figures(run: Run) -> dict[str, Any]:
    """All figures of a run, ready for JSON.

    Returns:
        {"run": facts, "questions", "left_out", "failed_rows", "unusable": strategies that answered nothing, with the
        number of rows that failed, "unit": of cost, "lonely_datasets": those of one question,
        "best_single", "strategies": [one per strategy, in the order of reports], "datasets", "tasks", "lengths":
        [one per slice], "wins", "closed_book", "timing", "verdicts"}.

    Raises:
        ConfigurationError: see `tabulate`.
    """
    executed = tabulate(run)
    window = int(run.facts["model"]["window"])
    arms = {**executed.arms, **derive(executed, window)}
    table = dataclasses.replace(executed, arms={name: arms[name] for name in in_order(arms)})
    best = best_single(table)
    tasks = by_task(table)
    datasets = np.array(table.datasets)
    everywhere = np.arange(len(table.questions))
    lacking = regret(table.arms, lambda arm, at: macro(arm.scores[at], datasets[at].tolist()), everywhere)
    limits = {name: value for name, value in (run.facts.get("budget") or {}).items() if name in LIMITS and value}
    return {
        "run": _facts(run.facts),
        "questions": len(table.questions),
        "left_out": table.left_out,
        "failed_rows": table.failed_rows,
        "unusable": dict(table.unusable),
        "unit": table.unit,
        "lonely_datasets": sum(units < 2 for units in drawn_units(table.clusters, table.datasets)),
        "best_single": best,
        "strategies": [
            _scored(arm, table, best)
            | _took(arm)
            | _shown(arm, limits)
            | {
                "regret": lacking.get(arm.name),
                "task_mean": _mean([score["mean"] for task in tasks if (score := task["scores"][arm.name])]),
            }
            for arm in table.arms.values()
        ],
        "datasets": by_dataset(table),
        "tasks": tasks,
        "lengths": by_length(table),
        "wins": wins(table.arms),
        "closed_book": closed_book(table),
        "timing": _timing(table),
        "verdicts": verdicts(table),
    }


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """FACTS, and the day on which the model's costs were measured; None where they were not."""
    return {name: facts.get(name) for name in FACTS} | {
        "profile_measured": (facts.get("profile") or {}).get("measured")
    }


def _scored(arm: Arm, table: Table, best: str | None) -> dict[str, Any]:
    """The score, and its difference to the best single strategy."""
    at = arm.answered
    clusters, datasets = [table.clusters[place] for place in at], [table.datasets[place] for place in at]
    score = macro_interval(arm.scores[at], clusters, datasets)
    against: dict[str, Any] = dict.fromkeys(("difference", "too_few", "told_apart", "needed"))
    if best is not None and arm.name != best:
        against = difference(arm.scores, table.arms[best].scores, table.clusters, table.datasets)
    return {"name": arm.name, "label": arm.label, "score": interval_json(score), **against, "questions": len(at)}


def _took(arm: Arm) -> dict[str, Any]:
    """What a question took. The median of expectations would be no median of answers, so there is none."""
    return {
        name: {"mean": _mean(values), "median": _median(values) if arm.rows else None}
        for name, values in (("seconds", arm.seconds), ("ttft", arm.ttft))
    } | {
        "prompt_tokens": _mean(arm.prompt_tokens),
        "cost": _mean(arm.cost),
    }


def _shown(arm: Arm, limits: Mapping[str, float]) -> dict[str, Any]:
    """What the answers were like; nothing for a baseline that is an expectation and has no answers."""
    rows, none = arm.own_rows, {"truncated": 0, "left_out": {}, "fallback": 0, "cached_rows": 0}
    if not rows:
        return {"citations": None, "abstention": None, **none, "kept": {}}
    return {
        "citations": _citations(rows),
        "abstention": metrics.abstention(rows),
        "truncated": sum(row["truncated"] for row in rows),
        "left_out": dict(Counter(row["left_out"]["limit"] for row in arm.rows if "left_out" in row)),
        "fallback": sum(row["fallback"] is not None for row in rows),
        "cached_rows": sum((row["usage"].get("cached_tokens") or 0) > 0 for row in rows),
        "kept": {name: _kept(rows, name, value) for name, value in limits.items()},
    }


def _citations(rows: Sequence[Row]) -> dict[str, Any]:
    """Citations: `given` all of them; `found` the quotes found, a share of the `quoted` ones that the model gave, since
    matched sentences are found by construction; `precision` the citations in gold, a share of all found ones on
    questions with gold evidence, which are `gold` many; `evidence` the share of the answered questions with gold
    evidence, `evidence_of` many, on which a quote of the model itself overlaps it."""
    counts = [row["citations"] for row in rows]
    answered = [row["citations"] for row in rows if not row["abstained"]]
    quoted = sum(c.get("quoted", 0) for c in counts)
    gold = [(c["found"], c["supported"]) for c in counts if c["supported"] is not None]
    cited = sum(found for found, _ in gold)
    own = [found for c in answered if (found := c.get("quoted_supported")) is not None]
    return {
        "given": sum(c["given"] for c in counts),
        "quoted": quoted,
        "found": sum(c.get("quoted_found", 0) for c in counts) / quoted if quoted else None,
        "precision": sum(supported for _, supported in gold) / cited if cited else None,
        "gold": cited,
        "evidence": sum(supported > 0 for supported in own) / len(own) if own else None,
        "evidence_of": len(own),
    }


def _kept(rows: Sequence[Row], limit: str, allowed: float) -> dict[str, Any]:
    """The share of rows that kept a limit, of those where the figure is known."""
    field = {"memory_bytes": "peak_memory_bytes"}.get(LIMITS[limit], LIMITS[limit])
    values = used(rows, field)
    known = values[~np.isnan(values)]
    return {"limit": allowed, "share": float((known <= allowed).mean()) if len(known) else None, "rows": len(known)}


def _timing(table: Table) -> dict[str, Any]:
    """Predicted over measured seconds, by executed strategy, and under "all" for all single strategies together."""
    ratios = {
        name: {field: _ratios(arm.rows, f"{field}_s") for field in ("ttft", "total")}
        for name, arm in table.arms.items()
        if is_single(name)
    }
    both = {field: np.concatenate([r[field] for r in ratios.values()] or [np.array([])]) for field in ("ttft", "total")}
    return {
        name: {field: _spread(values) for field, values in by.items()} for name, by in {**ratios, "all": both}.items()
    }


def _ratios(rows: Sequence[Row], name: str) -> Vector:
    pairs = predicted_and_measured(rows, name)
    return np.array([predicted / measured for predicted, measured in pairs], dtype=float)


def _spread(values: Vector) -> dict[str, Any] | None:
    if not len(values):
        return None
    p10, median, p90 = (float(value) for value in np.percentile(values, (10, 50, 90)))
    return {"rows": len(values), "median": median, "p10": p10, "p90": p90}


def _mean(values: Vector | Sequence[float]) -> float | None:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _median(values: Vector) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None

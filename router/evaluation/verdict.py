"""What the figures allow to be said: which strategies are told apart, and how many questions the others would need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout.router.evaluation.derived import best_single
from turnout.router.evaluation.report_text import counted
from turnout.router.evaluation.slices import TIE, interval_json
from turnout.router.evaluation.statistics import needed_questions, paired_difference, told_apart
from turnout.router.evaluation.table import Table, Vector, both, is_single

FEW = 10
"""Documents of one dataset from which on an interval can be trusted to tell strategies apart."""

SHOWN = 30
"""Questions that a report lists, of those on which two strategies disagree."""


def verdicts(table: Table) -> list[dict[str, Any]]:
    """The router against the best single strategy and against those that can't be it, since they were left out of
    questions; then full against rag: where the rows hold them."""
    best = best_single(table)
    pairs = []
    if "router" in table.arms and best is not None:
        partial = [name for name, arm in table.arms.items() if is_single(name) and len(arm.answered) < len(arm.scores)]
        pairs = [("router", name) for name in dict.fromkeys((best, *partial))]
    if {"full", "rag"} <= table.arms.keys():
        pairs.append(("full", "rag"))
    return [_verdict(table, a, b) for a, b in pairs if len(both(table.arms[a], table.arms[b]))]


def _verdict(table: Table, a: str, b: str) -> dict[str, Any]:
    against = difference(table.arms[a].scores, table.arms[b].scores, table.clusters, table.datasets)
    disagree = _disagreements(table, a, b)
    text = sentence(a, b, against, against["questions"])
    if disagree:
        text += f"; they score differently on {counted(len(disagree), 'question')}"
    return {
        "a": a,
        "b": b,
        **against,
        "disagree": len(disagree),
        "disagreements": disagree[:SHOWN],
        "text": text,
    }


def difference(a: Vector, b: Vector, clusters: Sequence[str], datasets: Sequence[str]) -> dict[str, Any]:
    """Scores a minus b with its interval, whether they are told apart, and if not, how many questions it would take;
    over the `questions` for which both have a score (NaN is none).

    `too_few` says that the interval is too narrow to claim anything: a dataset of one unit, or few units in all. Units
    are what the bootstrap draws within a dataset: its documents, or its questions where there is one document.
    """
    at = np.flatnonzero(~np.isnan(a - b))
    clusters, datasets = [clusters[place] for place in at], [datasets[place] for place in at]
    interval = paired_difference(a[at], b[at], clusters, datasets)
    units = drawn_units(clusters, datasets)
    too_few = min(units) < 2 or sum(units) - len(units) < FEW - 1
    apart = told_apart(interval) and not too_few
    return {
        "questions": len(at),
        "difference": interval_json(interval),
        "too_few": too_few,
        "told_apart": apart,
        "needed": None if apart or too_few else needed_questions(interval, len(at)),
    }


def drawn_units(clusters: Sequence[str], datasets: Sequence[str]) -> list[int]:
    """What the bootstrap draws from, by dataset."""
    by_dataset: dict[str, list[str]] = {}
    for cluster, dataset in zip(clusters, datasets, strict=True):
        by_dataset.setdefault(dataset, []).append(cluster)
    return [len(set(inside)) if len(set(inside)) > 1 else len(inside) for inside in by_dataset.values()]


def sentence(a: str, b: str, against: Mapping[str, Any], questions: int) -> str:
    """Says for people whether two strategies are told apart; `against` is the `difference` of a and b."""
    mean, needed = against["difference"]["mean"], against["needed"]
    if against["told_apart"]:
        better, worse = (a, b) if mean > 0 else (b, a)
        low, high = sorted((abs(against["difference"]["low"]), abs(against["difference"]["high"])))
        return f"{better} above {worse} by {abs(mean):.2f} [{low:.2f}, {high:.2f}] at n={questions}"
    if against["too_few"]:
        return f"{b} and {a} not told apart at n={questions} (too few documents in a dataset to say)"
    gap = f"{abs(mean):.2f}" if abs(mean) >= 0.005 else f"{abs(mean):.4f}"
    why = "no difference seen" if needed is None else f"{gap} needs about {needed:,}"
    return f"{b} and {a} not told apart at n={questions} ({why})"


def _disagreements(table: Table, a: str, b: str) -> list[dict[str, Any]]:
    """The questions on which two strategies score differently, most of all first."""
    first, second = table.arms[a].scores, table.arms[b].scores
    gaps = abs(first - second)
    places = [place for place in range(len(gaps)) if gaps[place] > TIE]
    places.sort(key=lambda place: (-gaps[place], table.questions[place].id))
    return [
        {
            "question_id": table.questions[place].id,
            "dataset": table.questions[place].dataset,
            "task": table.questions[place].task,
            "a": float(first[place]),
            "b": float(second[place]),
        }
        for place in places
    ]

"""Where each strategy wins: scores by dataset, by task and by length, and apart from what the model knew before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.router.evaluation.derived import regret
from turnout.router.evaluation.statistics import Interval, macro_interval
from turnout.router.evaluation.table import Arm, Asked, Places, Table, Vector, both, is_single

TIE = 0.01
"""Scores closer than this are equal."""

KNOWN = 0.5
"""From this closed-book score on, the model had the answer without the documents."""

_BANDS = ((1_000, "<1K"), (2_000, "1-2K"), (4_000, "2-4K"), (8_000, "4-8K"), (16_000, "8-16K"), (32_000, "16-32K"))
BANDS = (*(name for _, name in _BANDS), "32K+")


def band(tokens: int) -> str:
    """The length band of a context, by the reader's own tokens."""
    return next((name for limit, name in _BANDS if tokens < limit), BANDS[-1])


def by_dataset(table: Table) -> list[dict[str, Any]]:
    """One entry per dataset."""
    return _slices(table, lambda question: question.dataset)


def by_task(table: Table) -> list[dict[str, Any]]:
    """One entry per gold task."""
    return _slices(table, lambda question: question.task)


def by_length(table: Table) -> list[dict[str, Any]]:
    """One entry per length band that is present, shortest first."""
    entries = _slices(table, lambda question: band(question.context_tokens))
    return sorted(entries, key=lambda entry: BANDS.index(entry["name"]))


def _slices(table: Table, key: Callable[[Asked], str]) -> list[dict[str, Any]]:
    places: dict[str, list[int]] = {}
    for place, question in enumerate(table.questions):
        places.setdefault(key(question), []).append(place)
    return [_slice(table, name, np.array(places[name])) for name in sorted(places)]


def _slice(table: Table, name: str, places: Places) -> dict[str, Any]:
    router = table.arms.get("router")
    return {
        "name": name,
        "questions": len(places),
        "documents": len({table.questions[place].cluster for place in places}),
        "scores": {arm.name: _score(table, arm, name, places) for arm in table.arms.values()},
        "regret": regret(table.arms, lambda arm, at: float(arm.scores[at].mean()), places),
        "wins": wins(table.arms, places),
        "chosen": {} if router is None else chosen(router, places),
    }


def _score(table: Table, arm: Arm, name: str, places: Places) -> dict[str, float] | None:
    """Over those of the questions that it answered; None where it answered none."""
    at = np.intersect1d(places, arm.answered)
    clusters = [table.questions[place].cluster for place in at]
    return interval_json(macro_interval(arm.scores[at], clusters, [name] * len(at))) if len(at) else None


def interval_json(interval: Interval) -> dict[str, float]:
    """A mean with its 95% interval, as JSON."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def wins(arms: Mapping[str, Arm], places: Places | None = None) -> dict[str, float]:
    """Shares of questions on which full, rag or neither scores higher, of those that both answered; empty without
    any."""
    if not {"full", "rag"} <= arms.keys():
        return {}
    full, rag = arms["full"], arms["rag"]
    at = both(full, rag) if places is None else np.intersect1d(places, both(full, rag))
    if not len(at):
        return {}
    gap = full.scores[at] - rag.scores[at]
    return {"full": _share(gap > TIE), "rag": _share(gap < -TIE), "tie": _share(abs(gap) <= TIE)}


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean())


def chosen(router: Arm, places: Sequence[int] | Places) -> dict[str, int]:
    """How often the router took each strategy, most often first."""
    counts = Counter(str(router.rows[place].get("chosen")) for place in places)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def closed_book(table: Table) -> dict[str, Any] | None:
    """Scores on the questions that the model answers without documents, and on the others; None without such rows.

    Declining an unanswerable question shows no knowledge, so these always count with the others.
    """
    closed = table.arms.get("closed")
    if closed is None:
        return None
    answerable = np.array([question.answer_type != "unanswerable" for question in table.questions])
    known = (closed.scores >= KNOWN) & answerable
    return {
        "known": int(known.sum()),
        "questions": len(table.questions),
        "strategies": {
            name: {"known": _macro(arm.scores, known, table), "without": _macro(arm.scores, ~known, table)}
            for name, arm in table.arms.items()
            if name == "router" or is_single(name)
        },
    }


def _macro(scores: Vector, mask: NDArray[np.bool_], table: Table) -> dict[str, float] | None:
    places = np.flatnonzero(mask & ~np.isnan(scores))
    if not len(places):
        return None
    clusters = [table.questions[place].cluster for place in places]
    datasets = [table.questions[place].dataset for place in places]
    return interval_json(macro_interval(scores[places], clusters, datasets))

"""Two strategies on the same questions, of one run or of two: what changed, and whether it can be told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.evaluation.derived import DERIVED, derive, needed
from turnout.router.evaluation.report_text import columns, counted, interval, number, unusable_line
from turnout.router.evaluation.rows import read_run
from turnout.router.evaluation.statistics import macro
from turnout.router.evaluation.table import Arm, Asked, Table, Vector, tabulate
from turnout.router.evaluation.verdict import difference, sentence

CONDITIONS = ("inputs", "budget", "cache")
"""Facts of a run; where they differ, a difference in score or cost may come from them."""

ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """One strategy of one run."""

    name: str
    facts: dict[str, Any]
    table: Table
    arm: Arm


@dataclasses.dataclass(frozen=True, slots=True)
class _Pair:
    """Both strategies' figures over the questions that both have, [questions] each."""

    questions: tuple[Asked, ...]
    a: Vector
    b: Vector

    def over_datasets(self) -> dict[str, Any]:
        """B minus A as a mean over datasets."""
        return self._difference(range(len(self.questions)), [question.dataset for question in self.questions])

    def within(self, key: Callable[[Asked], str], name: str) -> dict[str, Any]:
        """B minus A as a mean over the questions with that key."""
        places = [place for place, question in enumerate(self.questions) if key(question) == name]
        return self._difference(places, [name] * len(places))

    def _difference(self, places: Sequence[int], groups: Sequence[str]) -> dict[str, Any]:
        clusters = [self.questions[place].cluster for place in places]
        a, b = self.a[list(places)], self.b[list(places)]
        means = {"a": macro(a, groups), "b": macro(b, groups)}
        return {"questions": len(places), **means, **difference(b, a, clusters, groups)}


def compare(a: str, b: str, fail_under: float | None = None) -> dict[str, Any]:
    """Compares B with A over the questions that both answered.

    Args:
        a: "DIR" or "DIR:strategy"; the router without a strategy. Derived baselines can be named too.
        b: as `a`.
        fail_under: the comparison has failed where the difference B minus A is below it.

    Returns:
        {"a", "b", "questions", "left_out": {"a", "b"}, "score": {"a", "b", "difference", "told_apart", "needed"},
        "datasets", "tasks", "ratios": B over A of mean "seconds" and "prompt_tokens", "differ": those of CONDITIONS
        in which the runs differ, "fail_under", "failed"}.

    Raises:
        ConfigurationError: no run there, no question in common, or scores of different metrics.
        UnknownNameError: the run has no such strategy.
    """
    if fail_under is not None and not math.isfinite(fail_under):
        raise ConfigurationError(f"fail_under is {fail_under}, not a number", hint="for example -0.02")
    first, second = _side(a), _side(b)
    places = _common(first, second)
    (at_a, at_b), questions = zip(*places, strict=True), tuple(first.table.questions[i] for i, _ in places)
    pair = _Pair(questions, first.arm.scores[list(at_a)], second.arm.scores[list(at_b)])
    score = pair.over_datasets()
    return {
        "a": _described(first),
        "b": _described(second),
        "questions": len(questions),
        "left_out": {
            "a": len(first.table.questions) + first.table.left_out - len(questions),
            "b": len(second.table.questions) + second.table.left_out - len(questions),
        },
        "score": score,
        "datasets": _by(pair, lambda question: question.dataset),
        "tasks": _by(pair, lambda question: question.task),
        "ratios": {
            name: _ratio(getattr(second.arm, name)[list(at_b)], getattr(first.arm, name)[list(at_a)])
            for name in ("seconds", "prompt_tokens")
        },
        "differ": [name for name in CONDITIONS if first.facts.get(name) != second.facts.get(name)],
        "fail_under": fail_under,
        "failed": fail_under is not None and score["difference"]["mean"] < fail_under - ROUNDING,
    }


def _side(name: str) -> _Side:
    folder, strategy = _split(name)
    run = read_run(folder)
    ran = {row["strategy"] for row in run.rows}
    if strategy not in (*ran, *DERIVED):
        raise UnknownNameError(f"strategy in {folder}", strategy, (*ran, *DERIVED))
    # Only what it rests on: another strategy that failed or was not finished takes no question away.
    table = tabulate(run, needed(strategy, ran))
    arms = {**table.arms, **derive(table, int(run.facts["model"]["window"]))}
    if strategy not in arms:
        raise ConfigurationError(
            f"{folder} has no {strategy}: it is worked out from full and rag, the oracle from two strategies",
            hint="turnout eval run with --strategies all, or compare another strategy",
        )
    return _Side(name, dict(run.facts), table, arms[strategy])


def _split(name: str) -> tuple[Path, str]:
    """Folder and strategy: both may hold colons, so the folder is the shortest part that exists."""
    if Path(name).is_dir():
        return Path(name), "router"
    for place in (place for place, sign in enumerate(name) if sign == ":"):
        if Path(name[:place]).is_dir():
            return Path(name[:place]), name[place + 1 :]
    return Path(name), "router"


def _common(a: _Side, b: _Side) -> list[tuple[int, int]]:
    """Where the questions that both have stand in each table."""
    in_b = {question.id: place for place, question in enumerate(b.table.questions)}
    places = [
        (i, in_b[question.id])
        for i, question in enumerate(a.table.questions)
        if question.id in in_b and not np.isnan(a.arm.scores[i] + b.arm.scores[in_b[question.id]])
    ]
    if not places:
        raise ConfigurationError(
            f"{a.name} and {b.name} have no question in common", hint="compare runs over the same question files"
        )
    for i, j in places:
        one, other = (side.arm.rows[at]["metric"] if side.arm.rows else "" for side, at in ((a, i), (b, j)))
        if one and other and one != other:
            raise ConfigurationError(
                f"{a.table.questions[i].id} is scored by {one} in {a.name} and by {other} in {b.name}",
                hint="run both again with one version of turnout and one set of question files",
            )
    return places


def _by(pair: _Pair, key: Callable[[Asked], str]) -> list[dict[str, Any]]:
    names = sorted({key(question) for question in pair.questions})
    return [{"name": name, **pair.within(key, name)} for name in names]


def _ratio(b: Vector, a: Vector) -> float | None:
    below = float(np.mean(a))
    return float(np.mean(b)) / below if below else None


def _described(side: _Side) -> dict[str, Any]:
    facts = side.facts
    return {
        "run": side.name,
        "strategy": side.arm.name,
        "model": facts["model"]["name"],
        "seed": facts.get("seed"),
        "cache": facts.get("cache"),
        "unusable": dict(side.table.unusable),
    }


def comparison_lines(comparison: Mapping[str, Any]) -> list[str]:
    """What `turnout eval compare` prints."""
    score, ratios = comparison["score"], comparison["ratios"]
    lines = [_side_line(name, comparison[name], comparison["left_out"][name]) for name in ("a", "b")]
    rows: list[Sequence[str]] = [("", "n", "A", "B", "B - A [95%]", ""), _row({"name": "all"} | score)]
    for title, name in (("by dataset", "datasets"), ("by task", "tasks")):
        rows += [(title, ""), *map(_row, comparison[name])]
    lines += columns(rows)
    lines.append(f"B over A    seconds {number(ratios['seconds'])}, prompt tokens {number(ratios['prompt_tokens'])}")
    if comparison["differ"]:
        lines.append(f"note        the runs differ in {', '.join(comparison['differ'])}")
    lines.append(f"verdict     {sentence('B', 'A', score, comparison['questions'])}")
    if comparison["fail_under"] is not None:
        outcome = "failed" if comparison["failed"] else "passed"
        lines.append(f"{outcome:<12}B - A is {score['difference']['mean']:+.3f}, limit {comparison['fail_under']:+.3f}")
    return lines


def _row(entry: Mapping[str, Any]) -> Sequence[str]:
    scores = (number(entry["a"]), number(entry["b"]), interval(entry["difference"], signed=True))
    return (entry["name"], str(entry["questions"]), *scores, "told apart" if entry["told_apart"] else "")


def _side_line(letter: str, side: Mapping[str, Any], left_out: int) -> str:
    facts = [side["run"], side["strategy"], side["model"], f"seed {side['seed']}", f"cache {side['cache']}"]
    if left_out:
        facts.append(f"{counted(left_out, 'question')} left out")
    facts += [f"{name}: {unusable_line(failed)}" for name, failed in side["unusable"].items()]
    return "  ".join([letter.upper(), *facts])

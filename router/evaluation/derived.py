"""Baselines that need no run of their own: worked out from the rows of executed strategies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from turnout.router.evaluation.statistics import macro
from turnout.router.evaluation.table import Arm, Places, Table, both, is_single

SHORT = 4
"""LaRA's shorter documents fill a quarter of its models' windows: 32K of 128K tokens."""

DERIVED = ("task_rule", "random", "oracle")

UNREACHABLE = "not reachable (chooses after seeing the scores)"


def needed(strategy: str, strategies: Collection[str]) -> set[str]:
    """The strategies, of those of a run, whose rows a strategy or derived baseline rests on; empty if it has none."""
    rests_on = {
        "task_rule": {"full", "rag"},
        "random": {"full", "rag", "router"},
        "oracle": set(filter(is_single, strategies)),
    }
    return rests_on.get(strategy, {strategy}) & set(strategies)


def derive(table: Table, window: int) -> dict[str, Arm]:
    """The baselines that these rows allow, by name.

    Args:
        table: executed strategies; `task_rule` and `random` need full and rag, `oracle` two strategies.
        window: the reader's window in tokens.
    """
    derived = {}
    if {"full", "rag"} <= table.arms.keys():
        derived["task_rule"] = task_rule(table, window)
        derived["random"] = random_mixture(table)
    if sum(map(is_single, table.arms)) > 1:
        derived["oracle"] = oracle(table)
    return derived


def random_mixture(table: Table) -> Arm:
    """Full for a random share of questions, rag for the rest: what the router's mean cost buys without looking.

    Every figure is the expectation, so no drawing noise is in it. The share p solves p full + (1 - p) rag = router in
    mean cost and is cut to 0..1; it is 0.5 without a router's rows, or where full and rag cost the same. The label says
    whether the router's cost is matched. A question that full is left out of gets rag.
    """
    rag = table.arms["rag"]
    full = full_or_rag(table)
    router = table.arms.get("router")
    spread = full.cost.mean() - rag.cost.mean()
    p = 0.5
    if router is None:
        why = "no router's cost to match"
    elif spread == 0:
        why = f"full and rag take the same {table.unit}"
    else:
        exact = float((router.cost.mean() - rag.cost.mean()) / spread)
        p = min(max(exact, 0.0), 1.0)
        why = f"the router's {table.unit}"
        if abs(exact - p) > 0.005:  # below that, p is shown as the same percentage
            below = router.cost.mean() < min(full.cost.mean(), rag.cost.mean())
            why += f" can't be matched: {'less' if below else 'more'} than either takes"
    return Arm(
        name="random",
        scores=p * full.scores + (1 - p) * rag.scores,
        seconds=p * full.seconds + (1 - p) * rag.seconds,
        ttft=p * full.ttft + (1 - p) * rag.ttft,
        prompt_tokens=p * full.prompt_tokens + (1 - p) * rag.prompt_tokens,
        cost=p * full.cost + (1 - p) * rag.cost,
        label=f"full for {p:.0%} of questions at random, else rag: {why}",
    )


def full_or_rag(table: Table) -> Arm:
    """Full, and rag for what full was left out of: what always reading everything comes to."""
    picks = [_possible("full", table, place) for place in range(len(table.questions))]
    return _picked("full", table, picks, "rag where full was left out")


def task_rule(table: Table, window: int) -> Arm:
    """The rule that LaRA's table (arXiv 2502.09977) suggests, given the gold task of each question.

    Comparison takes full, unanswerable takes rag, location and reasoning take full for short documents and rag for
    long ones. LaRA's windows are 128K tokens and its length classes 32K and 128K, so short is up to a quarter of the
    window. Summarisation, which LaRA does not test, goes with comparison. What full is left out of, rag takes.
    """

    def choice(task: str, context_tokens: int) -> str:
        if task in ("comparison", "summarisation"):
            return "full"
        if task == "hallucination":
            return "rag"
        return "full" if context_tokens * SHORT <= window else "rag"

    picks = [
        _possible(choice(question.task, question.context_tokens), table, place)
        for place, question in enumerate(table.questions)
    ]
    return _picked("task_rule", table, picks, "LaRA's fixed rule; it is told each question's gold task")


def oracle(table: Table) -> Arm:
    """The best score of any strategy on each question, of equal ones the cheaper: the ceiling of every router."""
    singles = [arm for name, arm in table.arms.items() if is_single(name)]
    # What a strategy was left out of is no score and comes last.
    picks = [
        min(singles, key=lambda arm: (-np.nan_to_num(arm.scores[place], nan=-1.0), arm.cost[place])).name
        for place in range(len(table.questions))
    ]
    return _picked("oracle", table, picks, UNREACHABLE)


def regret(arms: Mapping[str, Arm], mean: Callable[[Arm, Places], float], places: Places) -> dict[str, float]:
    """What each strategy's mean lacks to the oracle's, over those questions of `places` that it answered; empty without
    an oracle."""
    if "oracle" not in arms:
        return {}
    found, best = {}, arms["oracle"]
    for name, arm in arms.items():
        if len(at := np.intersect1d(places, both(arm, best))):
            found[name] = mean(best, at) - mean(arm, at)
    return found


def best_single(table: Table) -> str | None:
    """The strategy with the highest macro score, of equal ones the cheaper; None without any.

    One that was left out of questions is no choice for them: it is taken only where each was left out of some, and then
    by the questions that all of them answered.
    """
    singles = [arm for name, arm in table.arms.items() if is_single(name)]
    whole = [arm for arm in singles if len(arm.answered) == len(table.questions)]
    among = whole or singles
    if not among or not len(at := both(*among)):
        return None
    datasets = [table.datasets[place] for place in at]
    return min(among, key=lambda arm: (-macro(arm.scores[at], datasets), arm.cost[at].mean())).name


def _possible(pick: str, table: Table, place: int) -> str:
    """What is picked for a question, or rag where that was left out of it."""
    return "rag" if np.isnan(table.arms[pick].scores[place]) else pick


def _picked(name: str, table: Table, picks: Sequence[str], label: str) -> Arm:
    def gather(field: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([getattr(table.arms[pick], field)[place] for place, pick in enumerate(picks)], dtype=float)

    return Arm(
        name=name,
        scores=gather("scores"),
        seconds=gather("seconds"),
        ttft=gather("ttft"),
        prompt_tokens=gather("prompt_tokens"),
        cost=gather("cost"),
        rows=tuple(table.arms[pick].rows[place] for place, pick in enumerate(picks)),
        label=label,
    )

"""Measured regret: what the choices lacked to the strategies that were not chosen and were run all the same.

Of a question whose losers were run, the regret in seconds is what the answer took beyond the quickest strategy that
gave the same answer. The regret in score needs somebody who judges: 0 where the answer was good or all strategies gave
the same one; 1 where it was bad and another one was good; where strategies differ and nobody judged it is not known,
which bounds it from above. A verdict on an answer counts for all that are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.router.counterfactuals import Outcome
from turnout.router.evaluation.statistics import macro_interval
from turnout.router.kinds import KINDS
from turnout.router.ledger import Entry

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Measured:
    """One question whose losers were run.

    Attributes:
        kind: its likeliest kind, of `turnout.router.kinds.KINDS`.
        group: the documents that it was asked over.
        seconds: that its answer took once it had its turn.
        good: what the user says of it; None where nothing was said.
    """

    id: str
    kind: str
    group: str
    chosen: str
    seconds: float
    good: bool | None
    outcomes: tuple[Outcome, ...]

    @property
    def seconds_lost(self) -> float:
        """To the quickest strategy that gave the same answer."""
        same = [each.seconds for each in self.outcomes if each.same and each.seconds is not None]
        return max(self.seconds - min(same), 0.0) if same else 0.0

    @property
    def differs(self) -> bool:
        """Whether another strategy gave another answer."""
        return any(not each.same for each in self.outcomes)

    @property
    def score_lost(self) -> float | None:
        """0 or 1; None where it is not known."""
        if self.good or not self.differs:
            return 0.0
        others = [self.good if each.same else each.good for each in self.outcomes]
        if self.good is None:
            return None
        return 1.0 if any(others) else (None if None in others else 0.0)


def kind_of(signals: Mapping[str, Any]) -> str:
    """The likeliest kind of a question, by its recorded signals."""
    shares = signals.get("kinds") or ()
    return KINDS[list(shares).index(max(shares))] if shares else OTHER


class Found:
    """What the ledger's entries tell of the choices, taken in one by one.

    Args:
        outcomes: what other strategies answered, by the answer's id, as all the rest.
        verdicts: of the answers that were given.
        groups: names of the documents that they are over.

    Attributes:
        answers: entries that were taken in.
        measured: those whose losers answered.
    """

    def __init__(
        self, outcomes: Mapping[str, Sequence[Outcome]], verdicts: Mapping[str, bool], groups: Mapping[str, str]
    ) -> None:
        self.answers = 0
        self.measured: list[Measured] = []
        self._outcomes, self._verdicts, self._groups = outcomes, verdicts, groups
        self._choices: dict[str, Counter[str]] = {}
        self._scores: list[float] = []
        self._seconds: list[float] = []

    def add(self, entry: Entry) -> None:
        """Takes one in."""
        self.answers += 1
        decision = entry.record["decision"]
        if decision.get("on_paper") is not None:
            self._on_paper(decision)
        answered = tuple(each for each in self._outcomes.get(entry.id, ()) if each.state == "answered")
        if answered:
            signals = decision["signals"]
            self.measured.append(
                Measured(
                    id=entry.id,
                    kind=kind_of(signals),
                    group=self._groups.get(entry.id, entry.id),
                    chosen=entry.chosen,
                    seconds=entry.record["usage"]["total_s"] - signals.get("waited_s", 0.0),
                    good=self._verdicts.get(entry.id),
                    outcomes=answered,
                )
            )

    def _on_paper(self, decision: Mapping[str, Any]) -> None:
        run, paper = decision["chosen"], decision["on_paper"]
        self._choices.setdefault(run, Counter())[paper] += 1
        by_name = {candidate["strategy"]: candidate for candidate in decision["candidates"]}
        for values, name in ((self._scores, "quality"), (self._seconds, "total_s")):
            one, other = by_name[paper][name], by_name[run][name]
            values.append(0.0 if one is None or other is None else one - other)

    def shadow(self) -> dict[str, Any] | None:
        """What would have changed where the router decided on paper alone; None where it never did.

        Returns:
            `answers`, how often the router would have `changed` the strategy, `choices` (run -> on paper -> how often),
            and what it expected of that on average over all answers: `score` and `total_s`, on paper minus run.
        """
        if not self._scores:
            return None
        number = len(self._scores)
        same = sum(papers[run] for run, papers in self._choices.items())
        return {
            "answers": number,
            "changed": number - same,
            "choices": {run: dict(papers) for run, papers in self._choices.items()},
            "score": round(sum(self._scores) / number, 4),
            "total_s": round(sum(self._seconds) / number, 4),
        }


def report(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Regret by kind of question, and of all together, which comes last.

    Returns:
        For each: `kind`, `questions`, `documents`, `runs` (losers that answered), `differ` (share of questions on which
        a strategy gave another answer), `seconds_lost`, and of the questions for which it is `known`, `score_lost`;
        means with 95% intervals over documents, None of nothing. `score_lost_at_most` counts what is not known as 1.
    """
    kinds = [kind for kind in (*KINDS, OTHER) if any(each.kind == kind for each in found)]
    rows = [_row(kind, [each for each in found if each.kind == kind]) for kind in kinds]
    return [*rows, _row("all", found)] if found else []


def _row(kind: str, found: Sequence[Measured]) -> dict[str, Any]:
    groups = [each.group for each in found]
    lost = [(each.score_lost, each.group) for each in found]
    known = [(score, group) for score, group in lost if score is not None]
    return {
        "kind": kind,
        "questions": len(found),
        "documents": len(set(groups)),
        "runs": sum(len(each.outcomes) for each in found),
        "differ": _interval([float(each.differs) for each in found], groups),
        "seconds_lost": _interval([each.seconds_lost for each in found], groups),
        "known": len(known),
        "score_lost": _interval([score for score, _ in known], [group for _, group in known]),
        "score_lost_at_most": sum(1.0 if score is None else score for score, _ in lost) / len(lost),
    }


def _interval(values: Sequence[float], groups: Sequence[str]) -> dict[str, float] | None:
    if not values:
        return None
    found = macro_interval(values, groups, ["all"] * len(values))
    return {name: round(getattr(found, name), 4) for name in ("mean", "low", "high")}

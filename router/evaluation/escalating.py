"""Escalation replayed over the rows of a run: which outcome would have been given, and what all attempts took.

Decoding is greedy and a later attempt knows nothing of an earlier one, so the rows of single strategies are what the
attempts of one question would be. The same judges as in the product decide (`turnout.router.escalation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.router.escalation import MOST, WHOLE, Judge
from turnout.router.evaluation.ask import ROUTER
from turnout.router.evaluation.table import is_single
from turnout.router.support import Support

FIRST = "rag"
"""What is asked first where no router has chosen."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one strategy gave. `seconds` are those of its row."""

    strategy: str
    support: Support
    answer: str
    score: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Case:
    """One question with its outcomes, in the order in which strategies would be asked.

    Attributes:
        group: the document, or documents with text in common.
        is_graded: its metric tells right from wrong; one of texts that are worded freely does not.
    """

    question_id: str
    dataset: str
    group: str
    unanswerable: bool
    is_graded: bool
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """How one question went. `asked` counts attempts; `given` is the place of the outcome that was given."""

    score: float
    seconds: float
    asked: int
    given: int
    abstained: bool


def cases(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Case], dict[str, int]]:
    """(questions whose rows hold signals of support, rows without them by strategy).

    The router's choice is asked first, the others by their expected quality; what a strategy was left out of, failed in
    or was cut for is no outcome, nor is that of the whole text where passages were all of it.
    """
    by_question: dict[str, dict[str, Mapping[str, Any]]] = {}
    chosen: dict[str, str] = {}
    lacking: Counter[str] = Counter()
    for row in rows:
        if row["strategy"] == ROUTER and row.get("chosen"):
            chosen[row["question_id"]] = row["chosen"]
        if not is_single(row["strategy"]) or not _is_answered(row):
            continue
        if (support := _support(row)) is None:
            lacking[row["strategy"]] += 1
            continue
        by_question.setdefault(row["question_id"], {})[row["strategy"]] = {**row, "support": support}
    found = []
    for question_id, own in by_question.items():
        first = chosen.get(question_id, FIRST)
        if first not in own:
            continue
        later = sorted(own.keys() - {first}, key=lambda name: (-(own[name]["predicted"]["quality"] or 0.0), name))
        about = own[first]
        found.append(
            Case(
                question_id,
                about["dataset"],
                about["cluster"],
                about["answer_type"] == "unanswerable",
                about["answer_type"] != "abstractive",
                tuple(map(_outcome, _unlike([own[name] for name in (first, *later)]))),
            )
        )
    return found, dict(lacking)


def play(case: Case, judge: Judge | None) -> Played:
    """One question as a judge has it; without one its first outcome is given."""
    if judge is None:
        first = case.outcomes[0]
        return Played(first.score, first.seconds, 1, 0, first.support.abstained)
    judged = []
    for outcome in case.outcomes[: 1 + MOST]:
        judged.append((outcome.answer, judge.judge(outcome.support)))
        if judge.settles(judged):
            break
    place = judge.pick(judged)
    given, judgement = case.outcomes[place], judged[place][1]
    seconds = sum(outcome.seconds for outcome in case.outcomes[: len(judged)])
    return Played(worth(case, given, abstains=judgement.abstains), seconds, len(judged), place, judgement.abstains)


def worth(case: Case, outcome: Outcome, *, abstains: bool) -> float:
    """The score of an outcome, where what was answered may be given up for an abstention."""
    return outcome.score if abstains == outcome.support.abstained else float(case.unanswerable)


def _is_answered(row: Mapping[str, Any]) -> bool:
    return row["error"] is None and "left_out" not in row and not row["truncated"] and row["fallback"] is None


def _unlike(rows: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Without those that read all there is after another that did."""
    has_read_all = False
    for row in rows:
        reads_all = row["strategy"] in WHOLE and (row["predicted"]["prompt_tokens"] or 0) >= row["context_tokens"]
        if not (reads_all and has_read_all):
            yield row
        has_read_all |= reads_all


def _support(row: Mapping[str, Any]) -> Support | None:
    """The signals of a row; None where it has none, or those of another version."""
    try:
        return Support.from_record(row.get("support") or {})
    except TypeError:
        return None


def _outcome(row: Mapping[str, Any]) -> Outcome:
    seconds = row["usage"].get("total_s") or 0.0
    return Outcome(row["strategy"], row["support"], row["answer"], row["score"], seconds)

"""What `turnout regret` says on a terminal, and `turnout explain` of what other strategies answered."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnout.router.counterfactuals import Outcome

WIDTH = 80


def lines(found: Mapping[str, Any], run: Mapping[str, Any] | None) -> list[str]:
    """The report.

    Args:
        run: what was measured just now; None where nothing was to be.
    """
    head = [] if run is None else _run_lines(run)
    if found["kinds"]:
        head += [*_table(found["kinds"]), *_notes(found)]
    else:
        head.append(
            f"nothing was measured yet of {found['answers']:,} answers: set TURNOUT_REGRET to a share such as 0.05, or "
            "turnout regret --measure 20"
        )
    return [*head, *_shadow_lines(found["shadow"])]


def _run_lines(run: Mapping[str, Any]) -> list[str]:
    told = [f"measured now: {run['questions']:,} questions, {run['runs']:,} answers of other strategies"]
    if run["failed"]:
        told[0] += f", {run['failed']:,} failed"
    if run["stopped"]:
        told.append(f"stopped: {run['stopped']}")
    return told + [f"left out: {number:,}, {why}" for why, number in run["left_out"].items()]


def _table(kinds: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [("", "n", "documents", "differ [95%]", "seconds lost [95%]", "score lost [95%]", "known", "at most")]
    rows += [
        (
            row["kind"],
            f"{row['questions']:,}",
            f"{row['documents']:,}",
            _interval(row["differ"]),
            _interval(row["seconds_lost"]),
            _interval(row["score_lost"]),
            f"{row['known']:,}",
            f"{row['score_lost_at_most']:.2f}",
        )
        for row in kinds
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _interval(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _notes(found: Mapping[str, Any]) -> list[str]:
    every = found["kinds"][-1]
    told = []
    if open_ := every["questions"] - every["known"]:
        told.append(
            f"the score of {open_:,} is not known: strategies answered otherwise and nobody judged "
            "(turnout feedback ID good|bad, with --strategy NAME for another one's answer)"
        )
    told.append(f"measuring took {found['spent_s']:.0f} s in the last 24 hours, of {found['cap_s']:.0f} s allowed")
    return told


def _shadow_lines(shadow: Mapping[str, Any] | None) -> list[str]:
    if shadow is None:
        return []
    pairs = [
        f"{run} -> {paper} {number:,}"
        for run, papers in shadow["choices"].items()
        for paper, number in papers.items()
        if run != paper
    ]
    told = f"shadow: the router would have chosen otherwise for {shadow['changed']:,} of {shadow['answers']:,} answers"
    if pairs:
        told += f" ({', '.join(pairs)})"
    return [f"{told}; expected of that on average: score {shadow['score']:+.3f}, {shadow['total_s']:+.1f} s"]


def beside_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """What strategies that were not chosen took and answered."""
    return [f"{'beside':12}{_outcome(each)}" for each in outcomes]


def _outcome(found: Outcome) -> str:
    if found.state != "answered" or found.seconds is None or found.agreement is None:
        return f"{found.strategy}: {found.state}"
    how = "the same answer" if found.same else f"another answer (agreement {found.agreement:.2f})"
    if found.abstained:
        how += ", not in the text"
    said = {None: "", True: ", you said: good", False: ", you said: bad"}[found.good]
    text = "" if found.text is None else f'  "{textwrap.shorten(found.text, WIDTH, placeholder=" ...")}"'
    return f"{found.strategy}: {how}, {found.seconds:.1f} s{said}{text}"

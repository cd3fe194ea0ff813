"""`turnout eval`: measure strategies on questions with known answers."""

from __future__ import annotations

from typing import Any, ClassVar

import click

from turnout.cli.bars import Bars
from turnout.cli.lazy import LazyGroup
from turnout.cli.main import EXIT_FAILED
from turnout.cli.options import budget_options, model_options, take_budget

SHOWN = 10
"""Malformed rows that are printed one by one; the rest is counted."""


class EvalGroup(LazyGroup):
    """The commands of `turnout eval`, each imported when it is called."""

    modules: ClassVar[dict[str, str]] = {
        "compare": "eval_report",
        "label": "eval_label",
        "report": "eval_report",
        "routing": "eval_routing",
        "run": "evaluate",
    }


@click.group("eval", cls=EvalGroup)
def eval_() -> None:
    """Measure what each strategy scores and costs, on questions with known answers.

    \b
    turnout eval run --questions Q.jsonl --documents D.jsonl --out runs/mine
    turnout eval report runs/mine
    """


@click.command()
@click.option(
    "--questions", "-q", required=True, multiple=True, metavar="PATH", help="File or folder, .jsonl or .jsonl.gz."
)
@click.option("--documents", "-d", required=True, multiple=True, metavar="PATH", help="Documents, likewise.")
@click.option("--out", "-o", required=True, metavar="DIR", help="The run's folder; an unfinished run there goes on.")
@click.option(
    "--strategies", default="all", show_default=True, metavar="A,B", help="Rows to measure; see docs/evaluation.md."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Questions per dataset, core ones first.")
@click.option("--set", "question_set", metavar="NAME|FILE", help="dev300, dev150, lara90, or a file of ids.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the questions of --limit.")
@click.option(
    "--cache",
    type=click.Choice(["cold", "session"]),
    default="cold",
    show_default=True,
    help="cold isolates each row; in a session a strategy re-uses what it has read.",
)
@click.option(
    "--over-window",
    type=click.Choice(["leave-out", "cut"]),
    default="leave-out",
    show_default=True,
    help="Questions that are too long for full: left out of its rows, or cut in the middle.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Questions at once; servers, local models.",
)
@click.option("--strict", is_flag=True, help="Stop at malformed rows instead of skipping them.")
@click.option(
    "--decide-again", is_flag=True, help="Let the router decide anew; rows of strategies that are there stay."
)
@click.option(
    "--cross-fit",
    is_flag=True,
    help="Let the router decide anew, each question with a calibration learned from the run's other documents.",
)
@budget_options
@model_options
def run(strategies: str, **options: Any) -> int:
    """Run every strategy, and the router's own choice, over each question.

    Rows go to OUT/rows.jsonl as they come; the same command goes on with a run that was stopped.
    """
    from turnout import evaluate

    budget = take_budget(options)
    bad: list[str] = []

    def note(malformed: Any) -> None:
        bad.append(str(malformed))
        if len(bad) <= SHOWN:
            click.echo(f"skipped: {malformed}", err=True)

    names = [name.strip() for name in strategies.split(",") if name.strip()]
    with Bars() as bars:
        facts = evaluate.run(strategies=names, budget=budget, on_bad=note, progress=bars, **options)
    if len(bad) > SHOWN:
        click.echo(f"skipped: {len(bad) - SHOWN} more malformed rows", err=True)
    questions, rows, failed = facts["questions"], len(facts["strategies"]), facts["failed_rows"]
    click.echo(
        f"{_counted(questions, 'question')}, {_counted(rows, 'row')} each; next: turnout eval report {options['out']}"
    )
    for name, limits in facts["left_out"].items():
        why = ", ".join(f"{limit} {number:,}" for limit, number in limits.items())
        click.echo(f"left out of {name}: {_counted(sum(limits.values()), 'question')}, too long for: {why}", err=True)
    if failed:
        click.echo(f"{_counted(failed, 'row')} failed: the same command runs them again", err=True)
        return EXIT_FAILED
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

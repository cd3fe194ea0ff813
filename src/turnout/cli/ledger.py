"""`turnout explain`, `feedback`, `log` and `regret`: what was decided, why, how it was liked, how the predictions held
and what the choices lacked."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from turnout.cli import regret_text, render
from turnout.cli.bars import Bars
from turnout.cli.main import EXIT_FAILED
from turnout.cli.options import model_options

if TYPE_CHECKING:
    from turnout.router.drift import Drift

_HOME = click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME).")


@click.command()
@click.argument("answer_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the ledger's record as JSON.")
@_HOME
def explain(answer_id: str, as_json: bool, **options: Any) -> int:
    """Show every candidate of an answer's decision, what was predicted and what was measured."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        entry = t.explain(answer_id)
        beside = t.beside(entry.id)
    if as_json:
        record = {"id": entry.id, "created": entry.created, "question": entry.question, **entry.record}
        record |= {"content": entry.content, "beside": [dataclasses.asdict(each) for each in beside]}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        lines = render.explanation(entry.record, entry.question, entry.documents)
        click.echo("\n".join([*lines, *regret_text.beside_lines(beside)]))
    return 0


@click.command()
@click.argument("answer_id", metavar="ID")
@click.argument("verdict", type=click.Choice(["good", "bad"]))
@click.option("--strategy", metavar="NAME", help="Of what this one answered beside (see turnout explain ID).")
@_HOME
def feedback(answer_id: str, verdict: str, strategy: str | None, **options: Any) -> int:
    """Say whether an answer was good or bad; decisions on questions like it learn from that."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        entry = t.feedback(answer_id, good=verdict == "good", strategy=strategy)
    click.echo(f"{entry.id}: {verdict}, {strategy or entry.chosen}", err=True)
    return 0


@click.group(invoke_without_command=True)
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many answers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer.")
@click.option("--in", "collection", metavar="NAME", help="Only questions that were asked with --in NAME.")
@_HOME
@click.pass_context
def log(context: click.Context, /, limit: int, as_json: bool, collection: str | None, **options: Any) -> int:
    """List the newest answers in the ledger: predicted beside measured seconds to the first word."""
    from turnout.client import Turnout

    if context.invoked_subcommand is not None:
        return 0
    with Turnout(**options) as t:
        entries, drifts = t.log(limit, collection), t.drift()
    for entry in entries:
        if as_json:
            record = {"id": entry.id, "created": entry.created, "question": entry.question, **entry.record}
            click.echo(json.dumps(record, ensure_ascii=False))
            continue
        chosen = next(c for c in entry.record["decision"]["candidates"] if c["chosen"])
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created))
        outcome = "not in text" if entry.record["abstained"] else "answered"
        predicted, measured = chosen["ttft_s"], entry.record["usage"]["ttft_s"]
        times = f"{measured:.1f} s" if measured is not None else "-"
        times += f" (predicted {predicted:.1f})" if predicted is not None else ""
        paper = entry.record["decision"].get("on_paper")
        shadow = f"  on paper {paper}" if paper is not None else ""
        click.echo(f"{entry.id}  {when}  {entry.chosen:8} {outcome:11}  {times}{shadow}  {entry.question or ''}")
    if not entries:
        click.echo("no answers yet", err=True)
    _warn(drifts)
    return 0


@log.command()
@click.option("--older-than", metavar="AGE", help="Answers of longer ago: 30d, 12h, 8w.")
@click.option("--document", metavar="NAME", help="Answers over a document, by id, title or source.")
@click.option("--all", "everything", is_flag=True, help="All answers.")
@click.option("--yes", is_flag=True, help="Don't ask before.")
@_HOME
def purge(older_than: str | None, document: str | None, everything: bool, yes: bool, **options: Any) -> int:
    """Delete answers from the ledger, with what was said of them and what other strategies answered.

    What decisions have learned from them is gone too: corrections of seconds, and feedback.
    """
    from turnout.client import Turnout

    if sum((older_than is not None, document is not None, everything)) != 1:
        raise click.UsageError("what is to go? Give one of --older-than AGE, --document NAME and --all")
    which: dict[str, Any] = {"older_than": older_than, "document": document}
    with Turnout(**options) as t:
        number = t.purge_log(**which, dry_run=True)
        if number == 0:
            click.echo("no such answers in the ledger", err=True)
            return 0
        answers = f"{number:,} answer{'' if number == 1 else 's'}"
        if not yes and not _confirmed(f"delete {answers} from the ledger?"):
            click.echo("nothing was deleted", err=True)
            return EXIT_FAILED
        gone = t.purge_log(**which)
    click.echo(f"deleted {gone:,} answer{'' if gone == 1 else 's'}", err=True)
    return 0


@click.command()
@click.option("--days", type=float, metavar="N", help="Answers of the last N days; all by default.")
@click.option(
    "--measure",
    type=click.IntRange(1),
    metavar="N",
    help="First let the strategies that were not chosen answer the latest N questions of the ledger (--log full).",
)
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--max-s", "regret_max_s", type=float, metavar="SECONDS", help="Of a day (TURNOUT_REGRET_MAX_S).")
@click.option("--max-cost", "regret_max_cost", type=float, metavar="COST", help="Of a day (TURNOUT_REGRET_MAX_COST).")
@click.option("--prices", metavar="FILE", help="What the model's tokens cost (TURNOUT_PRICES).")
@click.option("--log", type=click.Choice(["decisions", "full"]), help="What is kept of it (TURNOUT_LOG).")
@model_options
def regret(days: float | None, measure: int | None, as_json: bool, **options: Any) -> int:
    """Show what the choices lacked to the strategies that were not chosen, by kind of question, where those were run.

    They are run for a share of the questions when nothing is asked (TURNOUT_REGRET), or by --measure now.
    """
    from turnout.client import Turnout

    with Bars() as bars, Turnout(progress=bars, **options) as t:
        run = None if measure is None else t.measure_regret(measure)
        found, drifts = t.regret(days), t.drift()
    if as_json:
        record = {**found, "measured_now": run, "drift": [dataclasses.asdict(each) for each in drifts]}
        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
        return 0
    click.echo("\n".join(regret_text.lines(found, run)))
    _warn(drifts)
    return 0


def _confirmed(question: str) -> bool:
    """Whether the user says yes; an input that ends does not."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _warn(drifts: Sequence[Drift]) -> None:
    for drift in drifts:
        click.secho(f"warning: {drift}; {drift.hint}", fg="yellow", err=True)

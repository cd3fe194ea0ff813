"""`turnout explain`, `feedback` and `log`: what was decided, why, how it was liked and how the predictions held."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from turnout.cli import render

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
    if as_json:
        record = {"id": entry.id, "created": entry.created, "question": entry.question, **entry.record}
        click.echo(json.dumps(record | {"content": entry.content}, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(render.explanation(entry.record, entry.question, entry.documents)))
    return 0


@click.command()
@click.argument("answer_id", metavar="ID")
@click.argument("verdict", type=click.Choice(["good", "bad"]))
@_HOME
def feedback(answer_id: str, verdict: str, **options: Any) -> int:
    """Say whether an answer was good or bad; decisions on questions like it learn from that."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        entry = t.feedback(answer_id, good=verdict == "good")
    click.echo(f"{entry.id}: {verdict}, {entry.chosen}", err=True)
    return 0


@click.command()
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many answers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer.")
@click.option("--in", "collection", metavar="NAME", help="Only questions that were asked with --in NAME.")
@_HOME
def log(limit: int, as_json: bool, collection: str | None, **options: Any) -> int:
    """List the newest answers in the ledger: predicted beside measured seconds to the first word."""
    from turnout.client import Turnout

    with Turnout(**options) as t:
        entries = t.log(limit, collection)
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
        click.echo(f"{entry.id}  {when}  {entry.chosen:8} {outcome:11}  {times}  {entry.question or ''}")
    if not entries:
        click.echo("no answers yet", err=True)
    return 0

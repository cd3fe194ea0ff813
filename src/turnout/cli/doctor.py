"""`turnout doctor` and `turnout strategies`: what this installation can do, and on what evidence."""

from __future__ import annotations

import json
from typing import Any

import click

from turnout.cli.options import model_options


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@model_options
def doctor(as_json: bool, **options: Any) -> int:
    """Show versions, hardware, models and settings, and what is missing. Exit code 1 when something needs mending."""
    from turnout import system

    report = system.doctor(**options)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo("\n".join(report["lines"]))
        for problem in report["problems"]:
            click.secho(f"problem  {problem}", fg="yellow")
    return 1 if report["problems"] else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per strategy.")
def strategies(as_json: bool) -> int:
    """List the ways to use documents, their tier, and the evidence each rests on. Only stable ones are defaults."""
    from turnout import system

    for entry in system.strategies():
        if as_json:
            click.echo(json.dumps(entry))
        else:
            click.echo(f"{entry['name']:12} {entry['tier']:9} {entry['what']}  [{entry['evidence']}]")
    return 0

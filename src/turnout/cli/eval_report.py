"""`turnout eval report` and `turnout eval compare`: what a run says."""

from __future__ import annotations

import json
from typing import Any

import click

from turnout.cli.main import EXIT_FAILED


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--details", is_flag=True, help="Add the tables by task and by length.")
@click.option("--page", metavar="FILE", help="Where the HTML page goes; DIR/report.html by default.")
@click.option("--no-page", is_flag=True, help="Write no page.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON, and write no page.")
def report(folder: str, details: bool, page: str | None, no_page: bool, as_json: bool) -> int:
    """Show what each strategy scored and cost in the run in DIR, and write the page with plots."""
    from turnout import evaluate

    with_page = not (no_page or as_json)
    if page is not None and not with_page:
        raise click.UsageError(f"--page {page} goes with neither --no-page nor --json, which write none")
    found = evaluate.report(folder, page, with_page=with_page)
    if as_json:
        click.echo(json.dumps(found["figures"], indent=2, ensure_ascii=False))
        return 0
    click.echo("\n".join(evaluate.report_lines(found["figures"], details=details, page=found["page"] or "")))
    if with_page and found["page"] is None:
        click.echo("no page: it needs the extra 'eval' (pip install 'turnout[eval]')", err=True)
    return 0


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--fail-under", type=float, metavar="X", help="Exit with 1 where B - A is below X, for example -0.02.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(a: str, b: str, fail_under: float | None, as_json: bool) -> int:
    """Compare B with A over the questions that both have. A and B are DIR or DIR:STRATEGY; the router by default."""
    from turnout import evaluate

    found: dict[str, Any] = evaluate.compare(a, b, fail_under)
    lines = found.pop("lines")
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))
    return EXIT_FAILED if found["failed"] else 0

"""`turnout cache`: what is kept of segments, on a Redis server or in the data directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from turnout.cli.bars import Bars
from turnout.cli.options import model_options

Command = Callable[..., Any]


def where_options(command: Command) -> Command:
    """--cache-url and --home."""
    for option in (
        click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME)."),
        click.option("--cache-url", metavar="URL", help="Redis server (TURNOUT_CACHE_URL); else the data directory."),
    ):
        command = option(command)
    return command


@click.group()
def cache() -> None:
    """Look after what was computed of the segments of documents, so that it is not computed again."""


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@where_options
def stats(as_json: bool, **options: Any) -> int:
    """Show what is kept, by kind."""
    from turnout import caches

    found = caches.statistics(**options)
    click.echo(json.dumps(found) if as_json else "\n".join(_table(found)))
    return 0


@cache.command()
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("--cache-url", metavar="URL", help="Redis server (TURNOUT_CACHE_URL); else the data directory.")
@click.option(
    "--strategy",
    type=click.Choice(["soft", "soft:ape"]),
    default="soft",
    show_default=True,
    help="Which one asks later: soft tokens for soft, keys and values for soft:ape.",
)
@click.option("--soft", metavar="HOW", help="mean:2, mean:4, or a folder of trained weights (TURNOUT_SOFT).")
@model_options
def warm(paths: tuple[str, ...], strategy: str, **options: Any) -> int:
    """Make what a strategy keeps of PATHS, or of the whole library, ahead of questions."""
    from turnout import caches

    with Bars() as bars:
        found = caches.warm(paths, bars, strategy=strategy, **options)
    click.echo(f"{found['segments']:,} segments, {found['made']:,} of them made now", err=True)
    return 0


@cache.command()
@where_options
def clear(**options: Any) -> int:
    """Remove all that is kept, also for others who use the same server."""
    from turnout import caches

    kinds = caches.clear(**options)["kinds"].values()
    click.echo(f"removed {sum(kind['entries'] for kind in kinds):,} values", err=True)
    return 0


def _table(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['where']}  at most {found['limit_bytes'] / 1e6:,.0f} MB"]
    for kind, held in found["kinds"].items():
        lines.append(f"{kind:12}{held['entries']:>10,} values {held['bytes'] / 1e6:>10,.1f} MB")
    return lines if found["kinds"] else [*lines, "nothing is kept"]

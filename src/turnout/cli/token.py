"""`turnout token`: who may use the server, and what for."""

from __future__ import annotations

import time
from typing import Any

import click

_HOME = click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME).")


@click.group()
def token() -> None:
    """Look after the tokens of `turnout serve`."""


@token.command()
@click.argument("name")
@click.option(
    "--in", "collections", multiple=True, required=True, metavar="COLLECTION", help="What it is for; may be repeated."
)
@click.option(
    "--right",
    "rights",
    multiple=True,
    default=("read", "write"),
    show_default=True,
    metavar="RIGHT",
    help="read (list and ask), write (upload, delete, judge) or metrics; may be repeated.",
)
@click.option("--per-minute", type=click.IntRange(1), metavar="N", help="Most requests a minute; no limit by default.")
@click.option("--at-once", type=click.IntRange(1), metavar="N", help="Most questions at once; no limit by default.")
@_HOME
def create(
    name: str,
    collections: tuple[str, ...],
    rights: tuple[str, ...],
    per_minute: int | None,
    at_once: int | None,
    **options: Any,
) -> int:
    """Make a token NAME and print it: only its hash is kept, so it is not seen again."""
    from turnout.tokens import Tokens

    with Tokens.open(**options) as tokens:
        made, secret = tokens.create(name, collections, rights, per_minute=per_minute, at_once=at_once)
    click.echo(secret)
    click.echo(f"{made.name} may {', '.join(made.rights)} in {', '.join(made.collections)}", err=True)
    return 0


@token.command(name="list")
@_HOME
def list_(**options: Any) -> int:
    """List the tokens, without what is secret of them."""
    from turnout.tokens import Tokens

    with Tokens.open(**options) as tokens:
        found = tokens.list()
    for each in found:
        when = time.strftime("%Y-%m-%d", time.localtime(each.created))
        limits = [f"{each.per_minute} a minute"] if each.per_minute else []
        limits += [f"{each.at_once} at once"] if each.at_once else []
        click.echo(
            f"{each.id}  {each.name}  {', '.join(each.rights)}  in {', '.join(each.collections)}"
            f"  {', '.join(limits) or 'no limits'}  {when}"
        )
    if not found:
        click.echo("no tokens: turnout token create NAME --in COLLECTION", err=True)
    return 0


@token.command()
@click.argument("name")
@_HOME
def revoke(name: str, **options: Any) -> int:
    """End a token, by its name or id: the next request with it is refused."""
    from turnout.tokens import Tokens

    with Tokens.open(**options) as tokens:
        gone = tokens.revoke(name)
    click.echo(f"revoked {gone.name}", err=True)
    return 0

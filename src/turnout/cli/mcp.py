"""`turnout mcp`: tools over documents, for programs that speak MCP."""

from __future__ import annotations

from typing import Any

import click

from turnout.cli.options import model_options


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("--in", "collection", metavar="NAME", help="The collection; the library by default, without PATHS.")
@click.option("--log", type=click.Choice(["off", "decisions", "full"]), help="What the ledger keeps (TURNOUT_LOG).")
@model_options
def mcp(paths: tuple[str, ...], collection: str | None, **options: Any) -> int:
    """Offer the tools ask, plan, list_documents and read_span over PATHS, or over a collection, on stdin and stdout.

    Nothing else can be asked about, read or changed through them.
    """
    from turnout.client import Turnout
    from turnout.server.mcp import serve

    with Turnout(**options) as t:
        serve(t, paths, collection)
    return 0

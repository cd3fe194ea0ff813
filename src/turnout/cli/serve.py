"""`turnout serve`: the OpenAI-compatible server."""

from __future__ import annotations

import logging
from typing import Any

import click

from turnout.cli.options import model_options


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need tokens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any free one.")
@click.option(
    "--max-request-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=32.0,
    show_default=True,
    help="Largest request.",
)
@click.option(
    "--max-questions",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Most questions in flight; more are told to come again (429).",
)
@click.option("--drain-s", type=click.IntRange(0), default=30, show_default=True, help="Seconds to end answers in.")
@click.option(
    "--share-collections/--no-share-collections",
    default=None,
    help="Let new collections share what is computed of equal texts (TURNOUT_SHARE_COLLECTIONS).",
)
@click.option("--log", type=click.Choice(["off", "decisions", "full"]), help="What the ledger keeps (TURNOUT_LOG).")
@model_options
def serve(
    host: str, port: int, max_request_mb: float, max_questions: int, drain_s: int, home: str | None, **options: Any
) -> int:
    """Answer over HTTP, as OpenAI's API does, until SIGTERM or Ctrl-C (docs/server.md).

    Only this machine may ask, and only read, until there are tokens: turnout token create NAME --in COLLECTION.
    """
    from turnout.client import Turnout
    from turnout.server.options import Options
    from turnout.server.run import serve as run

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")

    def started(url: str, tokens: int) -> None:
        who = f"{tokens} tokens" if tokens else "no tokens: open to this machine, for reading"
        click.echo(f"listening on {url}/v1  ({who})", err=True)

    run(
        Turnout(home=home, **options),
        Options(host, port, max_request_mb, max_questions, drain_s),
        started,
        home=home,
    )
    return 0

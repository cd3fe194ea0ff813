"""`turnout models`: which model files are here, getting them, and checking them."""

from __future__ import annotations

import json
from typing import Any

import click

from turnout.cli.bars import Bars

_HOME = click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME).")


@click.group()
def models() -> None:
    """List, get and check model files."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per model.")
@_HOME
def list_(as_json: bool, **options: Any) -> int:
    """Show each model: whether it is here, its size, licence, source and the memory that it needs."""
    from turnout import system

    return _print(system.models(**options), as_json)


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME|HF-ID]...")
@_HOME
def pull(names: tuple[str, ...], **options: Any) -> int:
    """Get models over the network, check their hashes, and keep them. Without names: the two defaults."""
    from turnout import system

    for name in names or system.default_models():
        with Bars() as bars:
            path = system.pull(name, bars, **options)
        click.echo(f"{name}  {path}")
    return 0


@models.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per model.")
@_HOME
def verify(as_json: bool, **options: Any) -> int:
    """Check every model file that is here against its SHA-256. Exit code 1 when one is damaged."""
    from turnout import system

    found = system.verify(**options)
    _print(found, as_json)
    return 1 if any(model["state"] == "damaged" for model in found) else 0


def _print(found: list[dict[str, Any]], as_json: bool) -> int:
    for model in found:
        if as_json:
            click.echo(json.dumps(model))
            continue
        size = f"{model['download_bytes'] / 1e6:.0f} MB to get, " if model["state"] == "missing" else ""
        click.echo(
            f"{model['name']:20} {model['role']:9} {model['state']:8} {size}{model['disk_bytes'] / 1e6:.0f} MB on disk,"
            f" {model['memory_bytes'] / 1e6:.0f} MB in memory  {model['licence']}  {model['source']}"
            f"  sha256 {model['sha256'][:12]}{'  ' + model['problem'] if model['problem'] else ''}"
        )
    return 0

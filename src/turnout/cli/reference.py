"""Writes docs/cli.md from the commands themselves: `python -m turnout.cli.reference docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from turnout.cli.main import cli

WIDTH = 100

_HEAD = """# Command line

This page is generated from the commands (`make docs`); a test holds it.

Answer and citations go to stdout, everything else to stderr. Exit codes: 0 answered, 1 failed, 2 usage, 3 not in the
text, 130 (by the shell) after Ctrl-C, which ends at once and leaves nothing half done.
"""


def reference() -> str:
    """The page: each command's own help text."""
    return "\n".join([_HEAD, *_sections("turnout", cli, None)])


def _sections(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    # Made as a call would make it: a command's help depends on its context settings.
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH)
    yield f"## {context.command_path}\n\n```\n{context.get_help()}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            if child is None:
                raise RuntimeError(f"the command {sub} is listed but not defined")
            yield from _sections(sub, child, context)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")

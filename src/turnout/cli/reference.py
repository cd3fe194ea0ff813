"""Writes docs/cli.md from the commands themselves: `python -m turnout.cli.reference docs/cli.md`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from turnout.cli.main import cli

_HEAD = """# Command line

This page is generated from the commands (`make docs`); a test holds it.

Answer and citations go to stdout, everything else to stderr. Exit codes: 0 answered, 1 failed, 2 usage, 3 not in the
text, 130 interrupted.
"""


def reference() -> str:
    """The page: each command's own help text."""
    root = click.Context(cli, info_name="turnout", max_content_width=100)
    sections = [_HEAD, _section(root)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is None:
            raise RuntimeError(f"the command {name} is listed but not defined")
        context = click.Context(command, info_name=name, parent=root, max_content_width=100)
        sections.append(_section(context))
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                child = command.get_command(context, sub)
                if child is not None:
                    sections.append(_section(click.Context(child, info_name=sub, parent=context, max_content_width=100)))
    return "\n".join(sections)


def _section(context: click.Context) -> str:
    return f"## {context.command_path}\n\n```\n{context.get_help()}\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")

"""A command group whose commands are imported when they are called, so that --help stays instant."""

from __future__ import annotations

import difflib
import importlib
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """Looks commands up by name and guesses what a mistyped one meant.

    Attributes:
        modules: command -> module of turnout.cli that defines it.
        attributes: command -> its name there, where that is another.
    """

    modules: ClassVar[dict[str, str]] = {}
    attributes: ClassVar[dict[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.modules:
            return None
        module = importlib.import_module(f"turnout.cli.{self.modules[name]}")
        command: click.Command = getattr(module, self.attributes.get(name, name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.modules and not name.startswith("-"):
            raise click.UsageError(f"no such command {name!r}; {self.guess(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def guess(self, ctx: click.Context, name: str) -> str:
        """What to do instead of a command that does not exist."""
        near = difflib.get_close_matches(name, self.modules, n=1)
        return f"did you mean `{ctx.command_path} {near[0]}`?" if near else f"`{ctx.command_path} --help` lists them"

"""`turnout`: the command group, its shared options, and how errors and interrupts end a run."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any, ClassVar

import click

from turnout import __version__
from turnout.cli.lazy import LazyGroup

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_IN_TEXT = 3


class Commands(LazyGroup):
    """All commands of `turnout`."""

    modules: ClassVar[dict[str, str]] = {
        "add": "library",
        "ask": "ask",
        "cache": "cache",
        "calibrate": "calibrate",
        "completion": "completion",
        "demo": "demo",
        "doctor": "doctor",
        "eval": "evaluate",
        "explain": "ledger",
        "feedback": "ledger",
        "log": "ledger",
        "ls": "library",
        "mcp": "mcp",
        "models": "models",
        "regret": "ledger",
        "rm": "library",
        "serve": "serve",
        "show": "library",
        "strategies": "doctor",
        "token": "token",
        "train": "train",
    }
    attributes: ClassVar[dict[str, str]] = {"eval": "eval_"}

    def guess(self, ctx: click.Context, name: str) -> str:
        """Guesses a question where the words look like one."""
        if name.endswith("?") or " " in name or os.path.exists(name):  # noqa: PTH110 - cheap, before pathlib
            return f'to ask: turnout ask [PATHS...] "{name if " " in name else "your question"}"'
        return super().guess(ctx, name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="turnout")
def cli() -> None:
    """Ask questions over long documents.

    For each question turnout decides how to use the documents (the whole text, the passages that match, ...), does
    it, and says why, what it cost and where the answer stands in the source.

    \b
    turnout ask contract.pdf "How long does confidentiality last?"
    turnout add docs/ && turnout ask "Which settings are required?"
    """


def console() -> None:
    """The installed command: `main`, with Ctrl-C left to the system.

    Python would answer Ctrl-C only between two of its own instructions, which loading a library or reading a long
    prompt can hold up for seconds. Ending at once is safe: whatever is being written is a transaction or a temporary
    file, so nothing is ever half done.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.formatwarning = lambda message, *_args, **_named: f"warning: {message}\n"
    main()


def main(args: list[str] | None = None) -> None:
    """Runs one command. Exit codes: 0 answered, 1 failed, 2 usage, 3 not in the text."""
    try:
        code: Any = cli.main(args, prog_name="turnout", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        sys.exit(_failed(error))


def _failed(error: Exception) -> int:
    from turnout.errors import ConfigurationError, TurnoutError

    if not isinstance(error, TurnoutError):
        raise error
    click.secho(f"error: {error.message}", fg="red", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAILED


if __name__ == "__main__":
    console()

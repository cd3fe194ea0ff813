"""`turnout eval label`: a reader's word on answers that differ."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from turnout.labelling import Shown, Side

SKIP, QUIT = "s", "q"
WIDTH = 100


@click.command()
@click.argument("folder", metavar="RUN")
@click.option("--strategies", metavar="A,B", help="Whose answers to compare; full and rag by default.")
def label(folder: str, strategies: str | None) -> int:
    """Say which answer is right where two strategies of the run in RUN disagree; they are shown without their names.

    Keys: 1, 2, both, none; s for later, q to stop. Verdicts stay with the run: the same command goes on, and
    `turnout calibrate quality --run RUN` learns from them.
    """
    from turnout.evaluate import Labelling

    named = [name.strip() for name in (strategies or "").split(",") if name.strip()]
    if strategies is not None and len(named) != 2:
        raise click.UsageError(f"--strategies {strategies}: name two, for example full,rag")
    found = Labelling(folder, named)
    a, b = found.strategies
    if not found.disagree:
        click.echo(f"{a} and {b} disagree on no question of {folder}: there is nothing to label", err=True)
        return 0
    if found.labelled:
        click.echo(f"{found.labelled:,} of {found.disagree:,} are labelled already", err=True)
    for shown in found:
        click.echo("\n".join(_lines(shown, found.labelled + 1, found.disagree)))
        key = _asked()
        if key == QUIT:
            break
        if key != SKIP:
            found.keep(shown.question_id, key)
    open_ = found.disagree - found.labelled
    click.echo(f"{found.labelled:,} of {found.disagree:,} labelled", err=True)
    again = f"turnout eval label {folder}" + (f" --strategies {a},{b}" if named else "")
    click.echo(f"next: {again if open_ else f'turnout calibrate quality --run {folder}'}", err=True)
    return 0


def _asked() -> str:
    """A key; QUIT where the input ends."""
    from turnout.evaluate import LABELS

    try:
        key: str = click.prompt("right", type=click.Choice([*LABELS, SKIP, QUIT]), err=True)
    except click.Abort:
        click.echo(err=True)
        return QUIT
    return key


def _lines(shown: Shown, number: int, of: int) -> list[str]:
    head = f"\n[{number} of {of}] {shown.question or f'question {shown.question_id} (the run did not keep its text)'}"
    return [head, *_side("1", shown.first), *_side("2", shown.second)]


def _side(key: str, side: Side) -> list[str]:
    text = "(not in the text)" if side.abstained else " ".join(side.answer.split()) or "(nothing)"
    lines = textwrap.wrap(text, WIDTH, initial_indent=f"  {key}  ", subsequent_indent="     ")
    for source in side.sources or ("(no source)",):
        lines += textwrap.wrap(source, WIDTH, initial_indent="       ", subsequent_indent="         ", max_lines=4)
    return lines

"""`turnout demo`: three questions over this project's own documents, one of them as a PDF made on the spot."""

from __future__ import annotations

import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import click

from turnout.cli import render
from turnout.cli.bars import Bars
from turnout.cli.options import model_options
from turnout.errors import MissingExtraError

QUESTIONS = (
    ("configuration.pdf", "What does TURNOUT_HOME move?"),
    ("README.md", "Under which licence is turnout released?"),
    ("decision.md", "How many questions does `turnout calibrate quality` need?"),
)


@click.command()
@model_options
def demo(**options: Any) -> int:
    """Ask three questions over turnout's own documents and show answers, decisions and citations.

    Gets the default models first where they are missing (about 180 MB, once).
    """
    from turnout import system
    from turnout.client import Turnout

    started = time.monotonic()
    for name in system.missing_defaults(model=options["model"], home=options["home"]):
        with Bars() as bars:
            system.pull(name, bars, home=options["home"])
    with tempfile.TemporaryDirectory() as folder, Bars() as bars, Turnout(progress=bars, **options) as t:
        documents = _documents(Path(folder))
        for name, question in QUESTIONS:
            click.secho(f'\n$ turnout ask {name} "{question}"', bold=True)
            answer = t.ask(question, [documents[name]])
            click.echo(render.decision_line(answer.decision), err=True)
            click.echo("\n".join(render.answer_lines(answer)))
            click.echo(render.usage_line(answer), err=True)
    if answer.model.is_demonstration:
        click.echo(f"\n{render.DEMONSTRATION}", err=True)
    click.echo(f"\nthree questions in {time.monotonic() - started:.0f} s", err=True)
    return 0


def _documents(folder: Path) -> dict[str, Path]:
    """The documents as files of a folder: README and docs as they are, the configuration page as a PDF."""
    source = resources.files("turnout") / "demo_documents"
    paths = {}
    for entry in source.iterdir():
        if entry.name.endswith(".md"):
            paths[entry.name] = folder / entry.name
            paths[entry.name].write_bytes(entry.read_bytes())
    page = paths["configuration.md"].read_text(encoding="utf-8")
    paths["configuration.pdf"] = _pdf(page, folder / "configuration.pdf")
    return paths


def _pdf(text: str, path: Path) -> Path:
    """A plain PDF of a text: one font, pages broken where they are full."""
    try:
        from fpdf import FPDF
    except ImportError as error:
        raise MissingExtraError("the demo's PDF", "documents") from error
    pdf = FPDF(format="A4")
    pdf.set_auto_page_break(True, margin=20)
    pdf.add_page()
    pdf.set_font("Helvetica", size=11)
    for paragraph in text.encode("latin-1", "replace").decode("latin-1").split("\n"):
        pdf.multi_cell(0, 6, paragraph, new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(path))
    return path

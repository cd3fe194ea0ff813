"""`turnout eval routing`: the router without any model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from turnout.cli.evaluate import SHOWN
from turnout.errors import ConfigurationError

PREDICTIONS = Path("dev/routing/lara_predictions.jsonl.gz")
QUESTIONS = Path("dev/questions/lara.jsonl.gz")

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--data",
    type=_PATH,
    metavar="DIR",
    help=f"Folder with {PREDICTIONS} and {QUESTIONS}, instead of the next two.",
)
@click.option("--predictions", type=_FILE, metavar="FILE", help="LaRA's predictions, .jsonl or .jsonl.gz.")
@click.option("--questions", type=_FILE, metavar="FILE", help="The questions that they answer.")
@click.option("--checked", type=_FILE, metavar="FILE", help="Verdicts of a reader, to check the grading rules.")
@click.option("--groups", type=_FILE, metavar="FILE", help="Which documents share text, benchmarks/lara_groups.json.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--strict", is_flag=True, help="Stop at malformed lines instead of skipping them.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--out", "-o", type=_FILE, metavar="FILE", help="Also write the result as JSON there.")
def routing(
    data: Path | None, predictions: Path | None, questions: Path | None, as_json: bool, out: Path | None, **options: Any
) -> int:
    """Score the router's choices on answers that 13 models have already given (LaRA).

    Needs no model: each question has a full-context and a retrieval answer of every model. Beside the router stand
    always full, always rag, a random mixture at equal cost, LaRA's task rule, what is attainable, and the oracle.
    """
    from turnout import evaluate

    if data is not None:
        predictions, questions = predictions or data / PREDICTIONS, questions or data / QUESTIONS
    if predictions is None or questions is None:
        missing = [name for name, path in (("--predictions", predictions), ("--questions", questions)) if path is None]
        raise click.UsageError(f"{' and '.join(missing)} missing: name the files, or give --data DIR")
    if out is not None:
        _check_writable(out)
    bad: list[str] = []

    def note(malformed: Any) -> None:
        bad.append(str(malformed))
        if len(bad) <= SHOWN:
            click.echo(f"skipped: {malformed}", err=True)

    result, lines = evaluate.routing(predictions, questions, on_bad=note, **options)
    if len(bad) > SHOWN:
        click.echo(f"skipped: {len(bad) - SHOWN} more malformed lines", err=True)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    click.echo(text if as_json else "\n".join(lines))
    return 0


def _check_writable(out: Path) -> None:
    """Nothing is made here, so that a refusal for another reason leaves nothing behind."""
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    target = out if out.exists() else folder
    if not folder.is_dir() or not os.access(target, os.W_OK):
        raise ConfigurationError(f"{out} can't be written", hint="give --out a file in a folder that you may write to")

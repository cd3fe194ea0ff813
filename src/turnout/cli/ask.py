"""`turnout ask`: a question over files or the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from turnout.cli import render
from turnout.cli.bars import Bars
from turnout.cli.main import EXIT_NOT_IN_TEXT
from turnout.cli.options import budget_options, model_options, take_budget
from turnout.config import ESCALATE
from turnout.types import Answer, Decided, Done, Reading, Retracted, TextDelta


@click.command()
@click.argument("words", nargs=-1, metavar="[PATHS...] QUESTION")
@click.option("--strategy", metavar="NAME", help="Insist on one (see `turnout strategies`).")
@click.option(
    "--escalate",
    type=click.Choice(ESCALATE),
    help="Ask another strategy where the text does not bear an answer: never, before any of it is shown, or also after "
    "(TURNOUT_ESCALATE); by default before, where a calibration found that it gains.",
)
@click.option(
    "--max-regret", type=float, metavar="SCORE", help="Keep an outcome only where that costs at most SCORE on average."
)
@click.option(
    "--expected-questions",
    type=click.IntRange(1),
    metavar="N",
    help="How many are to come over these documents, this one included; by default as many again as were asked lately.",
)
@click.option(
    "--shadow",
    metavar="NAME",
    help="Answer by this strategy, which you use now, and let the router decide on paper (TURNOUT_SHADOW).",
)
@click.option("--plan", is_flag=True, help="Show the decision and its estimates; generate nothing.")
@click.option("--stream", is_flag=True, help="Print words as they come.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (docs/answer.md).")
@click.option("--in", "collection", metavar="NAME", help="Ask over this collection, or over PATHS as a part of it.")
@click.option("--log", type=click.Choice(["off", "decisions", "full"]), help="What the ledger keeps (TURNOUT_LOG).")
@click.option("--max-file-mb", type=float, metavar="MB", help="Largest file to read (TURNOUT_MAX_FILE_MB).")
@budget_options
@model_options
def ask(
    words: tuple[str, ...],
    strategy: str | None,
    expected_questions: int | None,
    plan: bool,
    stream: bool,
    as_json: bool,
    collection: str | None,
    **options: Any,
) -> int:
    """Answer QUESTION over PATHS: files, folders, globs, or - for standard input. Without PATHS: over the library, or
    over the collection NAME.

    Answer and citations go to stdout, everything else to stderr. Exit code 3: not in the text.
    """
    from turnout.client import Turnout
    from turnout.inputs import with_stdin

    paths, question = _split(words)
    if strategy is not None and options["shadow"] is not None:
        raise click.UsageError("--strategy and --shadow both name what answers: leave one out")
    budget = take_budget(options)
    escalation = {name: options.pop(name) for name in ("escalate", "max_regret")}
    with Bars() as bars, Turnout(progress=bars, lasting=False, **options) as t:
        documents: list[Any] = with_stdin(paths) if paths else list(t.documents(collection or "library"))
        if not documents:
            empty = "the library is empty" if collection is None else f"the collection {collection!r} is empty"
            raise click.UsageError(f'{empty}: turnout ask PATH "question", or fill it with turnout add PATHS...')
        chosen: dict[str, Any] = {"budget": budget, "strategy": strategy, "expected_questions": expected_questions}
        chosen["collection"] = collection
        if plan:
            return _plan(t.plan(question, documents, **chosen), as_json)
        return _ask(t, question, documents, chosen | escalation, bars, stream and not as_json, as_json)


def _ask(
    t: Any, question: str, documents: list[Any], chosen: dict[str, Any], bars: Bars, stream: bool, as_json: bool
) -> int:
    shown = is_decided = False
    for event in t.stream(question, documents, **chosen):
        match event:
            case Decided(decision, read, read_s):
                bars.clear()
                lines = [] if is_decided else render.document_lines(read, decision, read_s)
                line = render.decision_line(decision)
                click.echo("\n".join([*lines, f"asked instead: {line}" if is_decided else line]), err=True)
                is_decided = True
            case Reading(done, total):
                bars("prefill", done, total)
            case TextDelta(text):
                bars.clear()
                if stream:
                    click.echo(text, nl=False)
                    shown = True
            case Retracted(why):
                if shown:
                    click.echo()
                    click.echo(f"taken back: {why}", err=True)
                shown = False
            case Done(answer):
                bars.clear()
                return _show(answer, shown, as_json, t.log_level != "off")
    raise RuntimeError("the stream ended without an answer")


def _show(answer: Answer, streamed: bool, as_json: bool, kept: bool) -> int:
    if as_json:
        from turnout.record import answer_json

        click.echo(json.dumps(answer_json(answer), indent=2, ensure_ascii=False))
    else:
        lines = render.answer_lines(answer)
        if streamed:
            click.echo("".join(f" [{i}]" for i, _ in enumerate(answer.citations, start=1)))
        click.echo("\n".join(lines[1:] if streamed else lines))
    click.echo(render.usage_line(answer, kept=kept), err=True)
    for note in answer.notes:
        click.echo(f"note: {note}", err=True)
    if answer.model.is_demonstration:
        click.echo(render.DEMONSTRATION, err=True)
    return EXIT_NOT_IN_TEXT if answer.abstained else 0


def _plan(decision: Any, as_json: bool) -> int:
    from turnout.record import decision_json

    record = decision_json(decision)
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        click.echo("\n".join(render.candidate_table(record["candidates"], render.currency_of(decision.signals))))
        for name, key in (("because", "because"), ("would flip", "would_flip")):
            for line in record[key]:
                click.echo(f"{name:12}{line}")
    return 0


def _split(words: tuple[str, ...]) -> tuple[list[str], str]:
    """(paths, question): the question is the last word; what looks like a slip gets a hint instead of a guess."""
    if not words:
        raise click.UsageError('what is the question? turnout ask [PATHS...] "your question"')
    *paths, question = words
    if not question.strip():
        raise click.UsageError("the question is empty")
    if _is_path(question):
        spoken = [word for word in paths if " " in word or word.endswith("?")]
        if len(spoken) == 1:
            rest = " ".join(word for word in words if word != spoken[0])
            raise click.UsageError(f'the question comes last: turnout ask {rest} "{spoken[0]}"')
        raise click.UsageError(f'no question after the paths: turnout ask {" ".join(words)} "your question"')
    first = next((i for i, word in enumerate(paths) if not _is_path(word) and not _like_path(word)), None)
    if first is not None and " " not in question:
        before, unquoted = words[:first], " ".join(words[first:])
        line = " ".join([*before, f'"{unquoted}"'])
        raise click.UsageError(f"put the question in quotes: turnout ask {line}")
    return paths, question


def _is_path(word: str) -> bool:
    if word == "-":
        return True
    try:
        return Path(word).expanduser().exists()
    except OSError:  # too long for a file name: it is a question
        return False


def _like_path(word: str) -> bool:
    return bool(set(word) & set("*?[/\\.~"))

"""`turnout train`: fit small weights on top of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from turnout.cli.bars import Bars


def share(name: str, default: float, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that is a share of 1."""
    return click.option(name, type=click.FloatRange(0, 1), default=default, show_default=True, help=text)


def folders(weights: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say what is read, and where the run with its `weights` stands."""

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option(
            "--out", "-o", required=True, metavar="DIR", help=f"Folder of the run; what is trained is in DIR/{weights}."
        )(command)
        return click.option(
            "--data", "data_folder", required=True, metavar="DIR", help="contexts.jsonl.gz and examples.jsonl.gz."
        )(command)

    return added


def common(*, decides: str, scored: str, most: int = 300) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every training has.

    Args:
        decides: what the seed does.
        scored: of what `--limit` takes at most `most`.
    """
    options = (
        click.option(
            "--without", multiple=True, metavar="DATASET", help="Leave a dataset out; may be given several times."
        ),
        click.option("--seed", type=int, default=1, show_default=True, help=f"Decides {decides}."),
        click.option("--limit", type=click.IntRange(1), default=most, show_default=True, help=f"{scored}."),
        click.option("--device", metavar="NAME", help="cpu or cuda; the best one by default (TURNOUT_DEVICE)."),
        click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME)."),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
    )

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return added


@click.group()
def train() -> None:
    """Train what turnout adds to a model."""


@train.command()
@folders("adapter")
@click.option("--model", metavar="PATH|ID", help="Local folder, Hugging Face id or packaged name.")
@click.option(
    "--evidence",
    type=click.Choice(["number", "after", "sentence", "none"]),
    default="number",
    show_default=True,
    help="With an answer: the number of its sentence, first or after it; first the sentence; nothing.",
)
@click.option("--max-tokens", type=click.IntRange(256), default=4096, show_default=True, help="Longest example.")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="Contexts drawn for each example.")
@click.option(
    "--examples",
    multiple=True,
    metavar="N|DATASET=N",
    help="At most N examples a round, or N of a dataset; may be given several times.",
)
@click.option("--tokens", type=click.IntRange(1), metavar="N", help="Stop at N tokens; all examples by default.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Stop after N steps; all sheets by default.")
@share("--among", 0.35, "Of texts that stand among others, 300 to 1,100 tokens together.")
@share("--long", 0.15, "Of texts that stand among others, up to the longest prompt.")
@share("--left-out", 0.12, "Questions without their text, to be refused, for each one over it.")
@share("--twisted", 0.1, "Questions bent so that their text does not answer them, for each one over it alone.")
@share("--as-choice", 0.05, "Questions with a short answer that are asked with options.")
@share("--kept", 0.1, "The model's own answers to other requests, for each example.")
@click.option("--from", "start", metavar="DIR", help="Adapter to go on from.")
@click.option("--rank", type=click.IntRange(1), default=16, show_default=True, help="Of the LoRA matrices.")
@click.option("--learning-rate", type=float, default=5e-4, show_default=True, help="At its highest.")
@click.option("--batch-tokens", type=click.IntRange(256), default=8192, show_default=True, help="Tokens a step.")
@click.option("--prepare-only", is_flag=True, help="Write the token ids and stop before the model is needed.")
@common(decides="order, contexts and first weights", scored="Valid questions of each part")
def reader(
    data_folder: str,
    out: str,
    model: str | None,
    start: str | None,
    limit: int,
    device: str | None,
    home: str | None,
    prepare_only: bool,
    as_json: bool,
    examples: tuple[str, ...],
    **options: Any,
) -> int:
    """Train a reader: short answers from the text, evidence first, and a refusal where the text has none.

    The same command goes on after a stop.
    """
    from turnout import train as facade

    with Bars() as bars:
        scores = facade.reader(
            data_folder,
            out,
            model,
            recipe=facade.Recipe(**options, **_limits(examples)),
            start=start,
            limit=limit,
            device=device,
            home=home,
            prepare_only=prepare_only,
            progress=bars,
        )
    if as_json:
        click.echo(json.dumps(scores))
    elif scores:
        click.echo("\n".join(_table(scores)))
        click.echo(f"adapter in {out}/adapter, used with --adapter", err=True)
    return 0


@train.command()
@folders("pruner")
@click.option("--embedder", metavar="DIR", help="A BERT encoder; the default embedder's.")
@click.option("--examples", type=click.IntRange(1), metavar="N", help="Questions to learn from; all by default.")
@share("--elsewhere", 0.6, "Questions that a passage which does not answer is shown for too.")
@click.option("--rank", type=click.IntRange(1), default=64, show_default=True, help="Of the low-rank weights.")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="At its highest.")
@click.option("--batch-tokens", type=click.IntRange(512), default=8192, show_default=True, help="Tokens a step.")
@common(decides="order, pairs and first weights", scored="Valid questions to score with")
def pruner(
    data_folder: str,
    out: str,
    embedder: str | None,
    limit: int,
    device: str | None,
    home: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Train the pruner: which sentences of a passage an answer wants, and how relevant the passage is.

    The same command goes on after a stop.
    """
    from turnout import train as facade

    with Bars() as bars:
        scores = facade.pruner(
            data_folder,
            out,
            recipe=facade.PrunerRecipe(alpha=options["rank"], **options),
            embedder=embedder,
            limit=limit,
            device=device,
            home=home,
            progress=bars,
        )
    if as_json:
        click.echo(json.dumps(scores))
    else:
        click.echo("\n".join(_pruner_table(scores)))
        click.echo(f"weights in {out}/pruner", err=True)
    return 0


@train.command()
@folders("soft")
@click.option("--model", metavar="PATH|ID", help="Local folder, Hugging Face id or packaged name.")
@click.option("--rate", type=click.Choice(["2", "4"]), default="2", show_default=True, help="Tokens for a soft one.")
@click.option("--examples", type=click.IntRange(1), metavar="N", help="Prompts to learn from; all by default.")
@click.option("--max-tokens", type=click.IntRange(64), default=1024, show_default=True, help="Longest example.")
@click.option("--answer-tokens", type=click.IntRange(1), default=64, show_default=True, help="Most of an answer.")
@click.option("--rank", type=click.IntRange(1), default=16, show_default=True, help="Of the LoRA matrices.")
@click.option("--learning-rate", type=float, default=1e-4, show_default=True, help="At its highest.")
@click.option("--batch-tokens", type=click.IntRange(64), default=8192, show_default=True, help="Tokens a step.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Stop after N steps; all prompts by default.")
@common(decides="order, prompts and first weights", scored="Valid prompts to score with")
def soft(
    data_folder: str,
    out: str,
    model: str | None,
    limit: int,
    device: str | None,
    home: str | None,
    as_json: bool,
    rate: str,
    **options: Any,
) -> int:
    """Train what makes soft tokens: embeddings that a model reads in place of a document, at half the positions.

    The same command goes on after a stop.
    """
    from turnout import train as facade

    with Bars() as bars:
        scores = facade.soft(
            data_folder,
            out,
            model,
            recipe=facade.SoftRecipe(rate=int(rate), alpha=2 * options["rank"], **options),
            limit=limit,
            device=device,
            home=home,
            progress=bars,
        )
    if as_json:
        click.echo(json.dumps(scores))
    else:
        for way in ("trained", "mean", "halved", "empty"):
            click.echo(f"{way:10} loss {scores[way]['loss']:.3f}  agrees {_share(scores[way]['agree'])}")
        click.echo(f"weights in {out}/soft, used with TURNOUT_SOFT", err=True)
    return 0


@train.command()
@folders("ldar")
@click.option("--model", metavar="PATH|ID", help="The reader: local folder, Hugging Face id or packaged name.")
@click.option("--adapter", metavar="DIR", help="Its adapter, or none; the one that comes with the model.")
@click.option("--embedder", metavar="DIR", help="Folder of the embedder; the default one's.")
@click.option("--examples", type=click.IntRange(1), default=1000, show_default=True, help="Questions to learn from.")
@click.option("--max-tokens", type=click.IntRange(100), default=2000, show_default=True, help="Most of the passages.")
@click.option(
    "--size", "sizes", type=click.IntRange(1), multiple=True, default=(1, 2, 4, 8), show_default=True,
    help="Passages of a band; may be given several times.",
)  # fmt: skip
@click.option(
    "--skip", "skips", type=click.IntRange(0), multiple=True, default=(0, 1, 2, 4), show_default=True,
    help="Of the most similar ones, left out; may be given several times.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Of the policy's training.")
@click.option("--learning-rate", type=float, default=3e-4, show_default=True, help="Of the same.")
@common(decides="questions, documents and first weights", scored="Valid questions to score with", most=150)
def ldar(
    data_folder: str,
    out: str,
    model: str | None,
    adapter: str | None,
    embedder: str | None,
    limit: int,
    device: str | None,
    home: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a policy that says how many passages a reader reads, and whether the most similar are among them.

    The same command goes on after a stop.
    """
    from turnout import train as facade

    with Bars() as bars:
        scores = facade.ldar(
            data_folder,
            out,
            model,
            recipe=facade.LdarRecipe(**options),
            adapter=adapter,
            embedder=embedder,
            limit=limit,
            device=device,
            home=home,
            progress=bars,
        )
    if as_json:
        click.echo(json.dumps(scores))
    else:
        for way in ("policy", "fixed", "top", "oracle"):
            found = scores[way]
            click.echo(
                f"{way:8} reward {found['reward']:7.3f}  tokens {found['tokens']:6,.0f}  "
                f"passages {found['passages']:5.1f}"
            )
        apart = scores["difference"]
        click.echo(f"policy over fixed {apart['mean']:.3f} [{apart['low']:.3f}, {apart['high']:.3f}], n={scores['n']}")
        click.echo(f"weights in {out}/ldar, used with TURNOUT_LDAR", err=True)
    return 0


@train.command()
@folders("chunkfree")
@click.option("--model", metavar="PATH|ID", help="Local folder, Hugging Face id or packaged name.")
@click.option("--examples", type=click.IntRange(1), metavar="N", help="Questions to learn from; all by default.")
@click.option("--max-tokens", type=click.IntRange(64), default=2560, show_default=True, help="Longest example.")
@click.option("--rank", type=click.IntRange(1), default=16, show_default=True, help="Of the LoRA matrices.")
@click.option("--learning-rate", type=float, default=5e-4, show_default=True, help="At its highest.")
@click.option("--batch-tokens", type=click.IntRange(64), default=8192, show_default=True, help="Tokens a step.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Stop after N steps; all questions by default.")
@common(decides="order, texts and first weights", scored="Valid questions to score with")
def chunkfree(
    data_folder: str,
    out: str,
    model: str | None,
    limit: int,
    device: str | None,
    home: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Train an adapter with which a model points at the sentences that answer a question, and where they end.

    The same command goes on after a stop.
    """
    from turnout import train as facade

    with Bars() as bars:
        scores = facade.chunkfree(
            data_folder,
            out,
            model,
            recipe=facade.ChunkFreeRecipe(alpha=2 * options["rank"], **options),
            limit=limit,
            device=device,
            home=home,
            progress=bars,
        )
    if as_json:
        click.echo(json.dumps(scores))
    else:
        for way in ("plain", "trained"):
            click.echo(f"{way:8} " + "  ".join(f"{name} {_share(scores[way][name])}" for name in _POINTED))
        apart = scores["difference"]
        click.echo(f"f1 {apart['mean']:+.3f} [{apart['low']:.3f}, {apart['high']:.3f}], n={scores['n']}")
        click.echo(f"weights in {out}/chunkfree, used with TURNOUT_CHUNKFREE", err=True)
    return 0


_POINTED = ("first", "f1", "exact", "found", "share")
"""Figures of what was pointed at, see `turnout.training.chunkfree_scores.Row`."""


def _pruner_table(scores: Mapping[str, Any]) -> list[str]:
    """Evidence kept at fixed shares of the tokens, the pruner's thresholds, and the order of passages."""
    lines = ["evidence kept at a share of the tokens"]
    for name in ("pruner", "words", "meaning"):
        shares = "  ".join(f"{share}: {_share(kept['mean'])}" for share, kept in scores[name]["share"].items())
        lines.append(f"  {name:10}{shares}")
    lines.append("pruner by threshold: evidence kept, tokens kept, tokens kept where there is no evidence")
    for threshold, at in scores["pruner"]["threshold"].items():
        lines.append(f"  {threshold:10}{_share(at['evidence']['mean'])}  {_share(at['tokens'])}  {_share(at['idle'])}")
    ranked = "  ".join(f"{name} {_share(each['mean'])}" for name, each in scores["ranking"].items())
    return [*lines, f"nDCG@10  {ranked}"]


def _limits(examples: Sequence[str]) -> dict[str, Any]:
    """Values of --examples as a recipe has them."""
    total: int | None = None
    each = []
    for value in examples:
        dataset, _, number = value.rpartition("=")
        if not (number.isdecimal() and int(number)):
            raise click.BadParameter(f"{value!r} is neither N nor DATASET=N", param_hint="--examples")
        if dataset:
            each.append((dataset, int(number)))
        else:
            total = int(number)
    return {"limit": total, "limits": tuple(each)}


def _table(scores: Mapping[str, Any]) -> list[str]:
    """A line for each task, the figures without and with the adapter."""
    lines = [f"{'':32}{'n':>5}  {'plain':>24}  {'trained':>24}"]
    for task, plain in scores["plain"].items():
        trained = scores["trained"][task]
        lines.append(f"{task:32}{plain['n']:>5}  {_figures(plain):>24}  {_figures(trained):>24}")
    return lines


def _figures(task: Mapping[str, Any]) -> str:
    if "precision" in task:
        return f"P {_share(task['precision'])}  R {_share(task['recall'])}"
    return "  ".join(f"{name} {_share(task[name])}" for name in ("f1", "em", "accuracy", "rouge_l") if name in task)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from turnout.config import NO_ADAPTER
from turnout.types import Budget

Command = Callable[..., Any]


def model_options(command: Command) -> Command:
    """--model, --model-name, what a local model and what a server is used with, and --home: which model answers, and
    where data lives."""
    for option in (
        click.option("--home", metavar="DIR", help="Data directory (TURNOUT_HOME)."),
        click.option(
            "--cache-namespace",
            metavar="NAME",
            help="Find again only prompts that were read under NAME; a salt for servers that take one "
            "(TURNOUT_CACHE_NAMESPACE).",
        ),
        click.option(
            "--server-retries",
            type=click.IntRange(min=0),
            metavar="N",
            help="Send a request to a server N times again before its answer begins; 2 by default "
            "(TURNOUT_SERVER_RETRIES).",
        ),
        click.option(
            "--server-timeout-s",
            type=float,
            metavar="SECONDS",
            help="Give up a server that says nothing for SECONDS; 600 by default (TURNOUT_SERVER_TIMEOUT_S).",
        ),
        click.option(
            "--server-takes",
            metavar="A,B",
            help="What a server takes beside OpenAI's fields: cache_salt, choices (TURNOUT_SERVER_TAKES).",
        ),
        click.option(
            "--server-window",
            type=click.IntRange(min=1),
            metavar="N",
            help="Tokens of prompt and answer of a server's model; what the server says by default "
            "(TURNOUT_SERVER_WINDOW).",
        ),
        click.option(
            "--attention",
            metavar="HOW",
            help="How a local model reads prompts: auto (as calibrated, where that is faster), dense, or the file of a "
            "calibration (TURNOUT_ATTENTION).",
        ),
        click.option(
            "--int8/--no-int8",
            default=None,
            help="Let a local model write with weights in int8; by default where that is faster (TURNOUT_INT8).",
        ),
        click.option(
            "--yarn",
            type=float,
            metavar="FACTOR",
            help="Let a local model read FACTOR times its window (TURNOUT_YARN).",
        ),
        click.option(
            "--kv-disk-mb",
            type=float,
            metavar="MB",
            help="Keep on disk what a local model has read, up to MB (TURNOUT_KV_DISK_MB).",
        ),
        click.option("--device", metavar="NAME", help="cpu or cuda; the best one by default (TURNOUT_DEVICE)."),
        click.option("--no-adapter", "adapter", flag_value=NO_ADAPTER, help="Use a local model as it is."),
        click.option(
            "--adapter",
            metavar="DIR",
            help="Adapter for a local model; by default the one that comes with it (TURNOUT_ADAPTER).",
        ),
        click.option("--model-name", metavar="NAME", help="Which model of the server (TURNOUT_MODEL_NAME)."),
        click.option(
            "--model",
            metavar="URL|PATH|ID",
            help="Server URL, local folder, Hugging Face id or packaged name (TURNOUT_MODEL).",
        ),
    ):
        command = option(command)
    return command


def budget_options(command: Command) -> Command:
    """One flag per Budget field, the prices that costs are counted with, and how much rag reads."""
    for option in (
        click.option(
            "--passage-tokens",
            type=click.IntRange(min=1),
            metavar="N",
            help="Most tokens of passages that rag reads; 1000 by default (TURNOUT_PASSAGE_TOKENS).",
        ),
        click.option(
            "--prices",
            metavar="FILE",
            help="What the model's tokens cost (TURNOUT_PRICES); costs are seconds of this machine without.",
        ),
        click.option(
            "--optimize",
            type=click.Choice(["quality", "balanced", "latency", "cost"]),
            default="quality",
            show_default=True,
            help="What to prefer inside the limits.",
        ),
        click.option("--max-memory-bytes", type=int, metavar="BYTES", help="Hard limit on peak memory."),
        click.option("--max-cost", type=float, metavar="COST", help="Hard limit on cost (seconds without --prices)."),
        click.option("--max-prompt-tokens", type=int, metavar="N", help="Hard limit on prompt tokens."),
        click.option("--max-ttft-s", type=float, metavar="SECONDS", help="Hard limit on time to the first word."),
        click.option("--max-total-s", type=float, metavar="SECONDS", help="Hard limit on time to the whole answer."),
    ):
        command = option(command)
    return command


def take_budget(options: dict[str, Any]) -> Budget:
    """Moves the budget flags out of a command's options into a Budget."""
    return Budget(**{name: options.pop(name) for name in Budget.__dataclass_fields__})

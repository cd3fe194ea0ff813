"""What training runs share: a folder belongs to one plan, answers end, and what trains must be installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from turnout.engines.folder import read_json
from turnout.engines.local import LocalEngine
from turnout.errors import ConfigurationError, MissingExtraError


def agree(file: Path, wanted: dict[str, Any]) -> None:
    """Writes the plan of a run into its file, or holds it against the one that is there.

    Raises:
        ConfigurationError: the folder holds a run with another plan.
    """
    if not file.is_file():
        file.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    found = read_json(file, "give another --out")
    if found != wanted:
        differ = next(name for name in wanted if found.get(name) != wanted[name])
        raise ConfigurationError(
            f"{file.parent} holds a run with another {differ}",
            hint="go on with the same options, or give another --out",
        )


def answer_ends(engine: LocalEngine, name: str) -> tuple[int, ...]:
    """The tokens that end an answer, first the one that the chat template writes.

    Raises:
        ConfigurationError: there are none.
    """
    ends = sorted(engine.end_tokens)
    if not ends:
        raise ConfigurationError(f"{name} has no token that ends an answer", hint="use an instruction-tuned model")
    first = engine.tokenizer.turn_end(ends)
    return tuple(sorted(ends, key=lambda token: token != first))


def require_peft(doing: str) -> None:
    """Raises MissingExtraError: the extra `train` is not installed. Args: doing: what needs it."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(doing, "train") from error

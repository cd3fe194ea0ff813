"""What it took to ask the reader several times for one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from turnout.types import Finished


def together(asked: Sequence[tuple[str, Finished]], last: Finished) -> Finished:
    """All tokens, and the most memory, of several askings; everything else is of the last."""
    every = (*(ended for _, ended in asked), last)
    memory = [each.peak_memory_bytes for each in every if each.peak_memory_bytes is not None]
    return Finished(
        last.reason,
        sum(each.prompt_tokens for each in every),
        sum(each.completion_tokens for each in every),
        sum(each.cached_tokens for each in every),
        last.first_token_s,
        max(memory, default=None),
    )


def records(asked: Sequence[tuple[str, Finished]], strategy: str) -> tuple[Mapping[str, Any], ...]:
    """The askings before the last, for `Usage.attempts`, each with its number among those of its task."""
    numbers: Counter[str] = Counter()
    found: list[Mapping[str, Any]] = []
    for task, each in asked:
        numbers[task] += 1
        found.append({"strategy": strategy, task: numbers[task], **tokens(each)})
    return tuple(found)


def tokens(asked: Finished) -> dict[str, int]:
    """Those of one asking."""
    return {
        "prompt_tokens": asked.prompt_tokens,
        "cached_tokens": asked.cached_tokens,
        "completion_tokens": asked.completion_tokens,
    }


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a strategy that was given up, and not of a follow-up of the one that answered."""
    return "given_up" in record or "failed" in record

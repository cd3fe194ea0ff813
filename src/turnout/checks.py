"""What callers give beside documents: refused here, before anything is read, where it can't be meant."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from turnout.asking import Decoding
from turnout.config import ESCALATE
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.types import Message

History = Sequence[Message | Mapping[str, str]]


def check_decoding(decoding: Decoding) -> None:
    """Refuses what no engine can do."""
    tokens, temperature, time_s = decoding.max_tokens, decoding.temperature, decoding.timeout_s
    given: Mapping[str, object] = {"temperature": temperature, "timeout_s": 1 if time_s is None else time_s}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ConfigurationError(f"{name} is {value!r}", hint="give a number")
    given = {"max_tokens": 1 if tokens is None else tokens, "seed": decoding.seed or 0}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ConfigurationError(f"{name} is {value!r}", hint="give a whole number")
    if tokens is not None and tokens < 1:
        raise ConfigurationError(f"an answer of {tokens} tokens is none", hint="allow at least 1, or leave it out")
    if not 0 <= temperature < math.inf:
        raise ConfigurationError(
            f"the temperature is {temperature}", hint="0 always takes the likeliest word, 1 follows the model's chances"
        )
    if time_s is not None and not time_s > 0:
        raise ConfigurationError(f"an answer in {time_s} s can't be had", hint="allow more time, or leave it out")
    if not isinstance(decoding.cache_namespace, str | None):
        raise ConfigurationError(
            f"cache_namespace is {decoding.cache_namespace!r}", hint="give a text, or leave it out"
        )
    stop: object = decoding.stop
    if isinstance(stop, str):
        raise ConfigurationError(f"stop strings are given as {stop!r}", hint=f"give a sequence: [{stop!r}]")
    if wrong := [one for one in decoding.stop if not isinstance(one, str)]:
        raise ConfigurationError(f"a stop string is {wrong[0]!r}", hint='give strings: ["\\n"]')


def check_escalation(escalate: str | None, max_regret: float | None, strategy: str | None) -> None:
    """Refuses modes that are not known, bounds that are none, and what contradicts itself.

    Args:
        escalate: what the caller asked for; None leaves it to the settings.
    """
    if escalate is not None and escalate not in ESCALATE:
        raise UnknownNameError("escalate mode", str(escalate), ESCALATE)
    if strategy is not None and escalate not in (None, "off"):
        raise ConfigurationError(
            f"strategy {strategy!r} is insisted on, and escalate={escalate!r} would ask others",
            hint="leave one of them out",
        )
    if max_regret is None:
        return
    given: object = max_regret
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < 1:
        raise ConfigurationError(
            f"max_regret is {max_regret!r}", hint="give the score, above 0 and below 1, that keeping may cost at most"
        )
    if escalate == "off" or strategy is not None:
        other = f"strategy {strategy!r}" if strategy is not None else "escalate='off'"
        raise ConfigurationError(
            f"max_regret {max_regret:g} can't be kept with {other}: no other strategy would be asked",
            hint="leave one of them out",
        )


def messages(history: History) -> list[Message]:
    """The turns of a conversation: each a Message or a {"role", "content"} mapping.

    Raises:
        ConfigurationError: a turn is neither a user's nor an assistant's.
    """
    return [_message(turn) for turn in history]


def _message(turn: Message | Mapping[str, str]) -> Message:
    if isinstance(turn, Message):
        turn = {"role": turn.role, "content": turn.text}
    role, text = turn.get("role", ""), turn.get("content", turn.get("text"))
    if role not in ("user", "assistant") or not isinstance(text, str):
        raise ConfigurationError(
            f"history turn {dict(turn)!r} is neither a user's nor an assistant's",
            hint='each turn is {"role": "user" or "assistant", "content": text}',
        )
    return Message("user" if role == "user" else "assistant", text)


def metadata_json(metadata: Mapping[str, Any], of: str) -> str:
    """Metadata as it is stored, "" for none.

    Raises:
        ConfigurationError: a value is not of JSON.
    """
    if not metadata:
        return ""
    try:
        return json.dumps(dict(metadata), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the metadata of {of!r} can't be kept: {error}",
            hint="use text, numbers, true, false, null, lists and maps",
        ) from error

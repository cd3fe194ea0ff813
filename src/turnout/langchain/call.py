"""One call of the chat model: what it was made with, and what the call says otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from turnout.asking import Decoding
from turnout.config import Escalate
from turnout.errors import UnknownNameError
from turnout.inputs import Input
from turnout.langchain import sources
from turnout.langchain.errors import RequestError, UnsupportedError
from turnout.types import Budget

OPTIONS = (
    *("documents", "collection", "budget", "strategy", "model"),
    *("temperature", "max_tokens", "timeout", "seed", "stop", "max_retries"),
    *("escalate", "max_regret"),
)
_IGNORED = ("stream", "ls_structured_output_format", "structured_output_format")
_TOOLS = ("tools", "tool_choice", "functions", "function_call", "parallel_tool_calls", "response_format")


@dataclass(frozen=True, slots=True)
class Call:
    """The options of one call, all known."""

    documents: list[Input] | None
    collection: str | None
    budget: Budget | None
    strategy: str | None
    model: str | None
    decoding: Decoding
    max_retries: int
    escalate: Escalate | None = None
    max_regret: float | None = None


def merged(own: Mapping[str, Any], given: Mapping[str, Any]) -> Call:
    """The model's own options under those of the call, where a call's None leaves what the model has.

    Raises:
        RequestError: an option is not known; the nearest one is in the hint.
        UnsupportedError: tools, or an answer of a given form, are asked for.
    """
    check_names(given)
    options = {**own, **{name: value for name, value in given.items() if name in OPTIONS and value is not None}}
    called = sources.chosen(given.get("documents"), given.get("collection"))
    documents, collection = sources.chosen(own["documents"], own["collection"]) if called == (None, None) else called
    stop, retries = options["stop"], options["max_retries"] or 0
    if not isinstance(retries, int) or retries < 0:
        raise RequestError(f"max_retries is {retries!r}", hint="give a whole number, 0 for a single try")
    if not isinstance(options["model"], str | None):
        raise RequestError(f"the model is {options['model']!r:.60}", hint="give a name, a folder, or a URL")
    if not isinstance(stop, str | Sequence | None):
        raise RequestError(f"stop is {stop!r}", hint='give strings: ["\\n"]')
    return Call(
        documents=documents,
        collection=collection,
        budget=budget(options["budget"]),
        strategy=options["strategy"],
        model=given.get("model"),
        decoding=Decoding(
            max_tokens=options["max_tokens"],
            temperature=options["temperature"] or 0.0,
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            seed=options["seed"],
            timeout_s=options["timeout"],
        ),
        max_retries=retries,
        escalate=options["escalate"],
        max_regret=options["max_regret"],
    )


def check_names(given: Mapping[str, Any]) -> None:
    """Refuses options that are not known or can't be done."""
    for name, value in given.items():
        if name in _TOOLS and value:
            raise no_tools(name)
        if name not in (*OPTIONS, *_IGNORED, *_TOOLS):
            unknown = UnknownNameError("option", name, OPTIONS)
            raise RequestError(unknown.message, hint=unknown.hint) from unknown


def known_fields(cls: type[BaseModel], values: Any) -> Any:
    """The values for an object of pydantic's, none of which is to be ignored.

    Raises:
        ValueError: a name is not known; the nearest one is in the hint.
    """
    for name in values if isinstance(values, Mapping) else ():
        if name not in cls.model_fields:
            raise ValueError(str(UnknownNameError("option", str(name), cls.model_fields)))
    return values


def no_tools(asked: str) -> UnsupportedError:
    """What is raised where the model shall call tools, or answer in a given form."""
    return UnsupportedError(
        f"this model answers questions over documents: it can't do {asked}",
        hint="let another model call tools, and give it this one as a tool: turnout_tool(documents)",
    )


def budget(given: Budget | Mapping[str, Any] | None) -> Budget | None:
    """A budget, or the mapping of one.

    Raises:
        RequestError: a limit is not known.
    """
    if given is None or isinstance(given, Budget):
        return given
    if not isinstance(given, Mapping):
        raise RequestError(f"the budget is {given!r}", hint='give a turnout.Budget, or a mapping: {"max_total_s": 20}')
    known = [field.name for field in dataclasses.fields(Budget)]
    for name in given:
        if name not in known:
            unknown = UnknownNameError("limit", str(name), known)
            raise RequestError(unknown.message, hint=unknown.hint) from unknown
    return Budget(**given)


def stops(given: Sequence[str] | None) -> list[str] | None:
    """Stop strings for traces: None where there are none."""
    return list(given) if given else None

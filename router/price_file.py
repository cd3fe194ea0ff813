"""Reads a price file: TOML, with prices of a million tokens and one currency for all of them.

    currency = "USD"

    [models."model-a"]
    input = 0.5
    cached_input = 0.1
    output = 1.5

Models are named as answers name them. `cached_input` is for prompt tokens that the engine had read before; without it
they cost what others do.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.prices import Prices, Pricing

_FIELDS = ("input", "cached_input", "output")
_NEEDED = ("input", "output")
_PARSER_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")
_EXAMPLE = 'a price file is TOML: currency = "USD", then for each model [models."NAME"], input = 0.5, output = 1.5'


def read(file: Path) -> Prices:
    """Reads a price file.

    Raises:
        ConfigurationError: it can't be read, or something in it is wrong: named by file, line and key.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"the price file {file} can't be read: {said}", hint="check --prices and TURNOUT_PRICES"
        ) from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PARSER_LINE.search(str(error))
        line = place[1] if place and place[1] else len(text.splitlines())
        raise ConfigurationError(f"{file}:{line}: {_PARSER_LINE.sub('', str(error))}", hint=_EXAMPLE) from error
    return _Checked(file, text).prices(found)


class _Checked:
    """Turns what a file holds into prices; what is wrong with it is named by file, line and key."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text

    def prices(self, found: Mapping[str, Any]) -> Prices:
        self._known((), found, ("currency", "models"))
        currency, models = found.get("currency"), found.get("models")
        if not isinstance(currency, str) or not re.fullmatch(r"[^\s\d]{1,8}", currency):
            raise self._wrong(("currency",), f"is {_shown(currency)}", 'give one for all prices: currency = "USD"')
        if not isinstance(models, dict) or not models:
            raise self._wrong(("models",), f"is {_shown(models)}", _EXAMPLE)
        return Prices(
            {name: self._pricing(name, fields, currency) for name, fields in models.items()}, str(self._file), currency
        )

    def _pricing(self, name: str, fields: Any, currency: str) -> Pricing:
        if not isinstance(fields, dict):
            raise self._wrong(("models", name), f"is {_shown(fields)}", _EXAMPLE)
        for key, value in fields.items():
            if isinstance(value, dict):
                hint = f'quote a name that has a dot in it: [models."{name}.{key}"]'
                raise self._wrong(("models", name, key), "is a table", hint)
        self._known(("models", name), fields, _FIELDS)
        price = {field: self._price(("models", name, field), fields) for field in _FIELDS if field in fields}
        for field in _NEEDED:
            if field not in price:
                raise self._wrong(("models", name), f"has no {field}", "give the price of a million tokens")
        # What it costs less to find in a cache is not known: it then costs no less.
        cached = price.get("cached_input", price["input"])
        return Pricing(name, str(self._file), currency, price["input"], cached, price["output"])

    def _price(self, keys: tuple[str, ...], fields: Mapping[str, Any]) -> float:
        value = fields[keys[-1]]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self._wrong(
                keys, f"is {_shown(value)}", "give the price of a million tokens as a number, 0 where they are free"
            )
        return float(value)

    def _known(self, keys: tuple[str, ...], found: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for name in found:
            if name not in names:
                unknown = UnknownNameError("key", name, names)
                raise self._wrong((*keys, name), "is not known here", unknown.hint)

    def _wrong(self, keys: tuple[str, ...], what: str, hint: str) -> ConfigurationError:
        line = _line(self._text, keys)
        named = ".".join(key if re.fullmatch(r"[\w-]+", key) else f'"{key}"' for key in keys)
        return ConfigurationError(f"{self._file}{f':{line}' if line else ''}: {named} {what}", hint=hint)


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.60}"


def _line(text: str, wanted: tuple[str, ...]) -> int:
    """The line of a key, or else of its table; 0 where neither is there. The parser does not keep it."""
    table: tuple[str, ...] = ()
    nearest = 0
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            paths = list(_paths(tomllib.loads(line)))
        except tomllib.TOMLDecodeError:  # a piece of a value over several lines has no key of ours
            continue
        if line.lstrip().startswith("["):
            here, table = paths, paths[-1]
        else:
            here = [(*table, *path) for path in paths]
        if wanted in here:
            return number
        if wanted[:-1] in here:
            nearest = number
    return nearest


def _paths(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys of a line with those above them: ("models",), then ("models", "x")."""
    for key, value in found.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *below) for below in _paths(value))

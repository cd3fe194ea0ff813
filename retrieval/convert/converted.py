"""What every converter returns, and how it loads its library."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from turnout.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Converted:
    """Text with the offset at which each page begins (empty: no pages) and remarks for the reader."""

    text: str
    pages: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class Converter(Protocol):
    """Turns the bytes of one format into text.

    `source` is named in errors; `max_bytes` bounds what the data may unpack to.
    """

    def __call__(self, data: bytes, *, source: str, max_bytes: int) -> Converted: ...


def megabytes(size: int) -> str:
    """A size in bytes for people, in units of a million bytes."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def library(module: str, purpose: str) -> Any:
    """Imports a library of the extra `documents`, or says what is missing it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(purpose, "documents") from error

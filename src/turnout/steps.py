"""Work that is done in steps: between two of them its caller can tell how far it is, or give up by closing it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from turnout.types import EngineEvent

Result = TypeVar("Result")

Steps = Generator[EngineEvent, None, Result]
"""Gives `Prefilled` while something is read, whatever else an engine tells, and returns its result."""


def done(steps: Steps[Result]) -> Result:
    """Does them all."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result

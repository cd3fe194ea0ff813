"""Who writes an engine's answers: one sequence alone, or one that looks ahead in its prompt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from turnout.engines import loading, prompt
from turnout.engines.answering import Alone, Author
from turnout.engines.speculative.pace import Pace
from turnout.engines.speculative.plan import Counts
from turnout.engines.writing import Writing
from turnout.types import Context

if TYPE_CHECKING:
    from turnout.engines.local import LocalEngine


class Authors:
    """Of one engine.

    Args:
        engine: whose answers they are.
        lookup: see `LocalEngine`.
    """

    def __init__(self, engine: LocalEngine, *, lookup: bool) -> None:
        self._engine, self._lookup = engine, lookup
        self._pace: Pace | None = None
        self._pace_of_lookups = Pace()

    @property
    def counts(self) -> Counts:
        """Of the last answer that was begun."""
        return self._pace.counts if self._pace else Counts()

    @contextlib.contextmanager
    def begun(self, context: Context, ids: list[int], writing: Writing) -> Iterator[Author]:
        """Who writes the answer to a context; what they hold is given back afterwards."""
        self._pace = None
        adapted = self._engine.is_adapted(context)
        with self._engine.sequence(writing.params.cache_namespace, adapted=adapted) as sequence:
            is_fact = prompt.asks_for_facts(context, self._engine.prompt_format)
            if isinstance(sequence, loading.Sequence) or not (self._lookup and is_fact):
                yield Alone(sequence, ids, writing)
            else:
                from turnout.engines.speculative.ahead import Ahead

                self._pace = self._pace_of_lookups
                yield Ahead(sequence, ids, writing, self._pace)

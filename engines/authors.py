"""Who writes an engine's answers: one sequence alone, one that looks ahead in its prompt, or a drafter and a target."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from turnout.contracts import Stopper
from turnout.engines import loading, prompt
from turnout.engines.answering import Alone, Author
from turnout.engines.apart import Apart
from turnout.engines.soft.kind import SoftContext
from turnout.engines.speculative.pace import RAPID_RATE, Pace
from turnout.engines.speculative.plan import Counts, DraftedContext
from turnout.engines.writing import Writing
from turnout.errors import ConfigurationError
from turnout.types import Context

if TYPE_CHECKING:
    from turnout.engines.local import LocalEngine
    from turnout.engines.paged.sequence import KvSequence


class Authors:
    """Of one engine.

    Args:
        engine: whose answers they are.
        lookup: see `LocalEngine`.
        drafter: drafts where a context asks for it; the engine itself by default.
    """

    def __init__(self, engine: LocalEngine, *, lookup: bool, drafter: LocalEngine | None) -> None:
        self._engine, self._other, self._lookup = engine, drafter, lookup
        self._pace: Pace | None = None
        self._pace_of_lookups, self._pace_of_drafts = Pace(), Pace(RAPID_RATE)

    @property
    def counts(self) -> Counts:
        """Of the last answer that was begun."""
        return self._pace.counts if self._pace else Counts()

    @cached_property
    def drafter(self) -> LocalEngine:
        """Raises ConfigurationError: its tokens are not the engine's, so that its drafts would mean another text."""
        engine, other = self._engine, self._other
        if other is None:
            return engine
        ours, theirs = engine.tokenizer.vocabulary(), other.tokenizer.vocabulary()
        if ours != theirs:
            odd = min(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
            raise ConfigurationError(
                f"{other.model.name} can't draft for {engine.model.name}: their tokenizers differ, for one in {odd!r}",
                hint="take a drafter of the same family, or none",
            )
        if not (engine.can_draft() and other.can_draft()):
            raise ConfigurationError(
                f"{other.model.name} can't draft for {engine.model.name}: not both keep keys and values in pages",
                hint="take a model of the types that docs/engine.md names",
            )
        return other

    def draft_ids(self, context: Context) -> list[int]:
        """The drafter's prompt; empty where none is asked for, or none is possible."""
        if not isinstance(context, DraftedContext) or not context.draft or not self._engine.can_draft():
            return []
        # As a drafted context too, which is never read in pieces.
        passages = DraftedContext(context.draft, context.question, context.history, context.task)
        return self.drafter.encode(passages)

    def check(self, ids: list[int], draft_ids: list[int], new_tokens: int) -> None:
        """Raises as `Admission.check`: they do not fit the windows or the memory."""
        is_shared = bool(draft_ids) and self.drafter is self._engine
        self._engine.admission.check(len(ids), new_tokens, beside=len(draft_ids) + new_tokens if is_shared else 0)
        if draft_ids:
            self.drafter.admission.check(len(draft_ids), new_tokens)

    def close(self) -> None:
        """Another model that drafts is closed too."""
        if self._other is not None:
            self._other.close()

    @contextlib.contextmanager
    def begun(
        self, context: Context, ids: list[int], draft_ids: list[int], writing: Writing, stopped: Stopper
    ) -> Iterator[Author]:
        """Who writes the answer to a context; what they hold is given back afterwards."""
        namespace = writing.params.cache_namespace
        self._pace = None
        with contextlib.ExitStack() as stack:
            prompts = self._engine.prompts(context)
            if len(prompts) > 1:
                yield self._apart(stack, context, prompts, writing)
                return
            sequence = self._engine.sequence(namespace, adapted=self._engine.is_adapted(context))
            stack.callback(sequence.close)
            if isinstance(sequence, loading.Sequence):
                yield Alone(sequence, ids, writing)
            elif isinstance(context, SoftContext):
                from turnout.engines.soft.reading import SoftPrompt

                yield Alone(SoftPrompt(sequence, self._engine.soft_prompt(context)), ids, writing)
            elif draft_ids and isinstance(context, DraftedContext) and not writing.params.choices:
                from turnout.engines.speculative.rapid import Rapid

                drafter = self.drafter.sequence(namespace, adapted=self.drafter.is_adapted(context))
                if isinstance(drafter, loading.Sequence):  # `drafter` has checked it
                    raise TypeError("a drafter without pages")
                stack.callback(drafter.close)
                self._pace = self._pace_of_drafts
                yield Rapid(sequence, drafter, ids, draft_ids, context.how, writing, self._pace, stopped)
            else:
                yield self._reader(context, sequence, ids, writing)

    def _reader(self, context: Context, sequence: KvSequence, ids: list[int], writing: Writing) -> Alone:
        """Writes alone, and looks ahead where what is asked for stands in the text."""
        if not (self._lookup and prompt.asks_for_facts(context, self._engine.prompt_format)):
            return Alone(sequence, ids, writing)
        from turnout.engines.speculative.ahead import Ahead

        self._pace = self._pace_of_lookups
        return Ahead(sequence, ids, writing, self._pace)

    def _apart(
        self, stack: contextlib.ExitStack, context: Context, prompts: list[list[int]], writing: Writing
    ) -> Apart:
        engine, namespace = self._engine, writing.params.cache_namespace
        (refusal, *_) = engine.tokenizer.encode_text(engine.prompt_format.refusal)

        def begin(ids: list[int]) -> tuple[Alone, Callable[[], None]]:
            sequence = engine.sequence(namespace, adapted=engine.is_adapted(context))
            if isinstance(sequence, loading.Sequence):
                raise TypeError("what is read apart is read in pages")
            stack.callback(sequence.close)
            return self._reader(context, sequence, ids, writing), sequence.close

        return Apart(prompts, begin, refusal)

"""Who writes an engine's answers: one sequence alone, one that looks ahead in its prompt, or a drafter and a target."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from turnout.contracts import Stopper
from turnout.engines import loading, prompt
from turnout.engines.answering import Alone, Author
from turnout.engines.apart import Apart
from turnout.engines.parallel.kind import ParallelContext
from turnout.engines.soft.kind import SoftContext
from turnout.engines.speculative.pace import RAPID_RATE, Pace
from turnout.engines.speculative.plan import DraftedContext
from turnout.engines.writing import Writing
from turnout.errors import ConfigurationError
from turnout.types import Context

if TYPE_CHECKING:
    from turnout.engines.local import LocalEngine


class Authors:
    """Of one engine.

    Args:
        engine: whose answers they are.
        drafter: drafts where a context asks for it; the engine itself by default.
    """

    def __init__(self, engine: LocalEngine, drafter: LocalEngine | None) -> None:
        self._engine, self._other = engine, drafter
        self._pace_of_lookups, self._pace_of_drafts = Pace(), Pace(RAPID_RATE)

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

    def check(self, ids: list[int], draft_ids: list[int], new_tokens: int) -> int:
        """Raises as `Admission.check`: they do not fit the windows or the memory.

        Returns:
            Tokens of a draft that lie in the same pages as the answer.
        """
        is_shared = bool(draft_ids) and self.drafter is self._engine
        beside = len(draft_ids) + new_tokens if is_shared else 0
        self._engine.admission.check(len(ids), new_tokens, beside)
        if draft_ids:
            self.drafter.admission.check(len(draft_ids), new_tokens)
        return beside

    def close(self) -> None:
        """Another model that drafts is closed too."""
        if self._other is not None:
            self._other.close()

    def author(
        self, context: Context, ids: list[int], draft_ids: list[int], writing: Writing, stopped: Stopper
    ) -> Author:
        """Who writes the answer to a context; nothing is taken before it begins.

        Args:
            stopped: asked between the steps of a draft.
        """
        engine, namespace = self._engine, writing.params.cache_namespace
        prompts = engine.prompts(context)
        if len(prompts) > 1:
            (refusal, *_) = engine.tokenizer.encode_text(engine.prompt_format.refusal)
            return Apart([self._reader(context, each, writing) for each in prompts], refusal)
        if draft_ids and isinstance(context, DraftedContext) and not writing.params.choices:
            from turnout.engines.speculative.rapid import Rapid

            target, drafter = (
                each.sequence(namespace, adapted=each.is_adapted(context)) for each in (engine, self.drafter)
            )
            if isinstance(target, loading.Sequence) or isinstance(
                drafter, loading.Sequence
            ):  # `drafter` has checked it
                raise TypeError("a draft without pages")
            return Rapid(target, drafter, ids, draft_ids, context.how, writing, self._pace_of_drafts, stopped)
        return self._reader(context, ids, writing)

    def _reader(self, context: Context, ids: list[int], writing: Writing) -> Alone:
        """Writes alone, and looks ahead where what is asked for stands in the text."""
        engine = self._engine
        if isinstance(context, ParallelContext):
            from turnout.engines.parallel.reading import OverKept

            given = engine.parallel_prompt(context)
            return OverKept(engine.parallel_sequence(given, writing.params.cache_namespace), given, writing)
        sequence = engine.sequence(writing.params.cache_namespace, adapted=engine.is_adapted(context))
        if isinstance(sequence, loading.Sequence):
            return Alone(sequence, ids, writing)
        if isinstance(context, SoftContext):
            from turnout.engines.soft.reading import OfSoft

            return OfSoft(sequence, engine.soft_prompt(context), writing)
        if engine.lookup and prompt.asks_for_facts(context, engine.prompt_format):
            from turnout.engines.speculative.ahead import Ahead

            return Ahead(sequence, ids, writing, self._pace_of_lookups, lambda: engine.at_once <= 1)
        return Alone(sequence, ids, writing)

"""What a local engine does with segments that are read each by itself (APE, arXiv 2502.05431)."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from turnout.engines import prompt
from turnout.engines.paged.pages import PAGE
from turnout.engines.parallel.frame import around
from turnout.engines.parallel.kind import ParallelContext, ParallelKind
from turnout.engines.prompt import PromptFormat
from turnout.engines.soft.engine import Softening
from turnout.progress import Watch
from turnout.types import Context, Message

if TYPE_CHECKING:
    from turnout.engines.paged.parallel import ParallelPrompt, ParallelSequence

VERSION = 1
"""Of how values are computed; part of the fingerprint."""


class InParallel(Softening):
    """The part of `LocalEngine` that knows keys and values of segments. Segments and questions are read by the model as
    it is, without its adapter."""

    @property
    @abstractmethod
    def chunk(self) -> int: ...

    def can_read_parallel(self) -> bool:
        """Whether its keys and values lie in pages, and every layer looks at all of them: a window counts positions,
        which segments share."""
        config = self.folder.config.get("text_config") or self.folder.config
        is_windowed = bool(config.get("sliding_window")) and config.get("use_sliding_window", True)
        return self.admission.footprint.paged and not is_windowed

    def parallel_kind(self, history: Sequence[Message] = ()) -> ParallelKind:
        """What its keys and values are; needs no weights of the model.

        Args:
            history: of the question; what a system says in it stands before the segments.
        """
        before = hashlib.sha256(array("I", self._before(history)).tobytes()).hexdigest()
        footprint = self.admission.footprint
        return ParallelKind(
            f"kv/{VERSION}/{before[:16]}/{self.folder.fingerprint[:32]}-{self.dtype}",
            footprint.kv_shape.page_bytes(footprint.dtype_bytes) // PAGE,
        )

    def read_parallel(
        self, texts: Sequence[str], history: Sequence[Message] = (), watch: Watch | None = None
    ) -> list[bytes]:
        """The keys and values of each text, read after nothing but the beginning of a prompt: the same whatever stands
        beside it.

        Args:
            history: as of `parallel_kind`.

        Raises:
            EngineError: a text is over the window.
            ModelError: the model's keys and values do not lie in pages.
            Cancelled: the watch said so after a batch.
        """
        from turnout.engines.parallel.reading import read_apart, room

        before = self._before(history)
        ids = [self.tokenizer.encode_text(text) for text in texts]
        for each in ids:
            self.admission.check(len(before) + len(each), 0)
        chunk, watch = self.chunk, watch or Watch()
        with self._with_pages("read segments apart", room(before, ids, chunk), watch) as session:
            return list(read_apart(session, before, ids, watch))

    def parallel_prompt(self, context: ParallelContext) -> ParallelPrompt:
        """The prompt of a context.

        Raises:
            EngineError: what is kept of its segments is not this engine's, or damaged.
        """
        from turnout.engines.parallel.reading import prompt_over

        return prompt_over(self.tokenizer, context, self.parallel_kind(context.history), self._wording)

    def parallel_sequence(self, given: ParallelPrompt, namespace: str | None = None) -> ParallelSequence:
        """An empty sequence for a prompt.

        Raises:
            ModelError: the model's keys and values do not lie in pages.
        """
        _, session = self._in_pages("answer over segments that were read apart")
        return session.parallel(namespace, given.root)

    @property
    def _wording(self) -> PromptFormat:
        return prompt.format_for(self.folder.parameters)

    def _before(self, history: Sequence[Message]) -> list[int]:
        system = tuple(turn for turn in history if turn.role == "system")
        return around(self.tokenizer, Context((), "?", system), self._wording)[0]

"""What a local engine makes of a context before it reads it: the token ids of one prompt, or of several."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.engines import apart, prompt
from turnout.engines.parallel.engine import InParallel
from turnout.engines.parallel.kind import ParallelContext
from turnout.engines.soft.kind import SoftContext
from turnout.types import Context


class AsPrompts(InParallel):
    """The part of `LocalEngine` that knows words and tokens, and loads no weights."""

    def encode(self, context: Context) -> list[int]:
        """The token ids that `generate` feeds for this context, one prompt after the other; those of soft tokens and of
        segments that were read before no tokenizer has."""
        return [token for ids in self.prompts(context) for token in ids]

    def prompts(self, context: Context) -> list[list[int]]:
        """Token ids of the prompt for a context, or of several, where it is read apart."""
        if isinstance(context, SoftContext):
            from turnout.engines.soft.reading import ids_of

            return [ids_of(self.soft_prompt(context))]
        if isinstance(context, ParallelContext):
            return [self.parallel_prompt(context).ids]
        found: Sequence[Context] = ()
        if (most := self.piece_tokens(context)) is not None:
            found = apart.excerpts(context, self.count_text, most)
        return [self.tokenizer.encode(prompt.pieces(one, self.prompt_format)) for one in found or [context]]

    def piece_tokens(self, context: Context) -> int | None:
        """See `ReadsInPieces`."""
        is_apart = prompt.is_read_apart(context, self.prompt_format) and self.admission.footprint.paged
        return apart.PIECE_TOKENS if is_apart else None

    def count(self, context: Context) -> int:
        return len(self.encode(context))

    def count_text(self, text: str) -> int:
        return self.tokenizer.count_text(text)

    def is_adapted(self, context: Context) -> bool:
        """Whether a context is read with the adapter: where it asks for what adapters are trained to give."""
        return prompt.asks_for_facts(context, self.prompt_format)

"""Source code: the functions that help most to foretell the question, and of long ones the lines that do.

LongCodeZip (arXiv 2510.00446), without the marks that it leaves where something is cut: what is kept is the source's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout.compression.code_blocks import Block, Chars, blocks_of
from turnout.compression.code_cuts import knapsack, rooms, runs
from turnout.compression.code_gains import Foretelling
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.selection import Target
from turnout.documents import Span
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.sentences import lines
from turnout.types import Part

if TYPE_CHECKING:
    from turnout.contracts import Compressor, SegmentCache, Surprises

KEEP = 0.5
"""Share of the tokens that is kept where nothing else is said."""

REACH = 2.0
"""Tokens of the functions that the fine stage works on, as a multiple of the budget."""

SMALL = 5
"""Lines from which on a function is cut."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A block among those of all parts; `fixed` of its `tokens` are never cut."""

    place: int
    block: Block
    gain: float
    tokens: int
    fixed: int

    @property
    def kept(self) -> list[Chars]:
        """What is never cut."""
        block = self.block
        if self.fixed == self.tokens:
            return [(block.start, block.end)]
        return [(block.start, block.body[0]), (block.body[1], block.end)]


class CodeCompressor:
    """Keeps functions by how much less surprising the question is after them, then lines of them by the same.

    Functions, methods and what stands between them are ranked, and the best are taken, those under SMALL lines whole.
    The others get room by their rank and are cut into blocks before their surprising lines; the blocks that are worth
    most in that room are kept, with the signature. A method has the first and last lines of its class with it.

    Args:
        engine: says how surprising a question is after a piece of code.
        count: tokens of a text, in the reader's tokenizer.
        keep: share of the tokens, 0 to 1, that is kept where a target has no `max_tokens`.
        fine: cut functions too. Without it they are kept or left as a whole, and what is left of a file parses where
            the file did.
        cache: keeps what the engine said, by piece of code and question; in memory by default.

    Raises:
        ConfigurationError: `keep` is not between 0 and 1.
    """

    name = "extract:code"
    quotable = True

    def __init__(
        self,
        engine: Surprises,
        count: Callable[[str], int],
        *,
        keep: float = KEEP,
        fine: bool = True,
        cache: SegmentCache | None = None,
    ) -> None:
        if not 0 <= keep <= 1:
            raise ConfigurationError(f"keep is {keep}, not between 0 and 1")
        self._engine = engine
        self._count = count
        self._keep = keep
        self._fine = fine
        self._cache = MemoryCache() if cache is None else cache

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        """What is left of files, or of pieces of them; their titles tell the language.

        Gains are no probabilities: the target's `threshold` and `fill` do not count, and the budget is always filled.

        Raises:
            MissingExtraError: a language is one that is parsed, and its parser is not installed.
            EngineError: the question is over the window.
            ModelError: the engine's model can't be used for this.
            Cancelled: the watch said so; what was found until then is cached.
        """
        before = sum(self._count(part.text) for part in parts)
        budget = int(before * self._keep) if target.max_tokens is None else target.max_tokens
        if before <= budget:
            return tuple(parts)
        if budget == 0:
            return ()
        asked = Foretelling(self._engine, self._count, question, self._cache, watch or Watch())
        taken, left = self._taken(self._ranked(asked, parts), parts, budget)
        cut = [at for at, each in enumerate(taken) if each.fixed < each.tokens]
        kept = [each.kept for each in taken]
        for at, spans in zip(cut, self._bodies(asked, parts, [taken[at] for at in cut], left), strict=True):
            kept[at] += spans
        while True:
            found = _joined(parts, taken, kept)
            # The tokens of pieces do not always add up: where they are too many, the least helpful goes.
            if sum(self._count(part.text) for part in found) <= budget:
                return found
            taken.pop()
            kept.pop()

    def _ranked(self, asked: Foretelling, parts: Sequence[Part]) -> list[_Ranked]:
        """The blocks of all parts, the most helpful first."""
        found = [
            (place, block, part.text[block.start : block.end])
            for place, part in enumerate(parts)
            for block in blocks_of(part.text, part.title)
            if block.kind != "frame"
        ]
        gains = asked.gains([text for *_, text in found])
        ranked = [
            _Ranked(place, block, gain, self._count(text), self._fixed(block, text))
            for (place, block, text), gain in zip(found, gains, strict=True)
        ]
        return sorted(ranked, key=lambda each: (-each.gain, each.place, each.block.start))

    def _fixed(self, block: Block, text: str) -> int:
        tokens = self._count(text)
        if not self._fine or len(lines(text)) < SMALL:
            return tokens
        first, last = (at - block.start for at in block.body)
        return min(self._count(text[:first]) + self._count(text[last:]), tokens)

    def _taken(self, ranked: Sequence[_Ranked], parts: Sequence[Part], budget: int) -> tuple[list[_Ranked], int]:
        """The blocks that something is kept of, and the tokens that are left for their bodies."""
        taken: list[_Ranked] = []
        framed: set[tuple[int, Chars]] = set()
        left, reach = budget, budget * REACH if self._fine else math.inf
        for each in ranked:
            if reach <= 0:
                break
            new = {(each.place, frame) for frame in each.block.frames} - framed
            least = each.fixed + sum(self._count(parts[place].text[start:end]) for place, (start, end) in new)
            if least <= left:
                taken.append(each)
                framed |= new
                left -= least
                reach -= each.tokens
        return taken, left

    def _bodies(
        self, asked: Foretelling, parts: Sequence[Part], cut: Sequence[_Ranked], left: int
    ) -> list[list[Chars]]:
        """What is kept of the body of each block."""
        shares = rooms([each.gain for each in cut], [each.tokens - each.fixed for each in cut], left)
        texts = [parts[each.place].text for each in cut]
        found = [self._blocks(asked, text, each, share) for text, each, share in zip(texts, cut, shares, strict=True)]
        compared = [len(spans) > 1 for spans in found]
        rows = list(zip(texts, shares, found, compared, strict=True))
        gains = iter(asked.gains([text[a:b] for text, _, spans, several in rows if several for a, b in spans]))
        kept: list[list[Chars]] = []
        spare = left - sum(shares)
        for text, share, spans, several in rows:
            values = [next(gains) if several else 0.0 for _ in spans]
            # After any code a question may be less likely than alone; and what helps least still fills room.
            low = min([0.0, *values])
            weights = [self._count(text[start:end]) for start, end in spans]
            chosen = knapsack([value - low + 1e-6 for value in values], weights, share + spare)
            spare += share - sum(weights[at] for at in chosen)
            kept.append([spans[at] for at in chosen])
        return kept

    def _blocks(self, asked: Foretelling, text: str, each: _Ranked, room: int) -> list[Chars]:
        """The blocks that a body is cut into: one where all of it has room."""
        start, end = each.block.body
        if each.tokens - each.fixed <= room:
            return [(start, end)]
        begin = each.block.start
        spans = [(start - begin + first, start - begin + last) for first, last in lines(text[start:end])]
        perplexities = asked.perplexities(text[begin:end], spans)
        tokens = [self._count(text[begin + first : begin + last]) for first, last in spans]
        return [
            (begin + spans[first][0], begin + spans[last - 1][1]) for first, last in runs(perplexities, tokens, room)
        ]


def _joined(parts: Sequence[Part], taken: Sequence[_Ranked], kept: Sequence[Sequence[Chars]]) -> tuple[Part, ...]:
    """What is kept, in order, as parts of their own; neighbours are one."""
    found: list[set[Chars]] = [set() for _ in parts]
    for each, spans in zip(taken, kept, strict=True):
        found[each.place].update(spans, each.block.frames)
    made: list[Part] = []
    for part, mine in zip(parts, found, strict=True):
        # Where one ends and another starts there is no edge.
        starts, ends = ({span[side] for span in mine if span[0] < span[1]} for side in (0, 1))
        edges = sorted(starts ^ ends)
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            begin = part.span.start
            span = Span(part.span.document_id, begin + start, begin + end)
            made.append(part if end - start == len(part.text) else Part(part.text[start:end], span, part.title))
    return tuple(made)


if TYPE_CHECKING:
    _: type[Compressor] = CodeCompressor

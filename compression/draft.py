"""The tokens that the reader itself looks at where it begins to answer, with what stands around them (SpecPC, arXiv
2506.08373).

Published with a small draft model that reads the prompt for a large one. Here the reader is its own draft and reads the
text in windows, so that a prompt may be longer than its window. What is kept are pieces of sentences, each as it stands
in the source, widened to whole words: half a number is another number.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.compression.memory_cache import MemoryCache
from turnout.compression.sealed import under
from turnout.compression.selection import Target
from turnout.documents import SegmentKey, Span
from turnout.errors import ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.types import Part

if TYPE_CHECKING:
    from turnout.contracts import Compressor, RanksTokens, SegmentCache

KEEP = 0.5
"""Share of the tokens that is kept where nothing else is said."""

WINDOW_TOKENS = 2048
"""Of the text, read at once. Windows are of one size, because attention is shared among what is read. Not measured."""

AROUND_TOKENS = 256
"""Of a window, for the question's template."""

SMALLEST_WINDOW = 16

POOL_TOKENS = 32
"""Width over which the strongest token counts for all; as published."""

NEIGHBOUR_TOKENS = 32
"""Tokens around each chosen one that come with it; as published."""

WORD = 40
"""Characters up to which a word is kept whole."""

VERSION = "1"
"""Of how windows are read; part of the fingerprint."""

Floats = NDArray[np.float64]


class DraftCompressor:
    """Keeps the tokens with most attention in runs, as many as the target has room for.

    Args:
        engine: whose attention decides.
        count: tokens of a text, in the reader's tokenizer.
        keep: share of the tokens, 0 to 1, that is kept where a target has no `max_tokens`.
        window_tokens, pool_tokens, neighbour_tokens: see the constants of this module.
        cache: keeps the attention by window and question; in memory by default.

    Raises:
        ConfigurationError: `keep` is not between 0 and 1, or a size is under 1.
    """

    name = "extract:draft"
    quotable = False

    def __init__(
        self,
        engine: RanksTokens,
        count: Callable[[str], int],
        *,
        keep: float = KEEP,
        window_tokens: int = WINDOW_TOKENS,
        pool_tokens: int = POOL_TOKENS,
        neighbour_tokens: int = NEIGHBOUR_TOKENS,
        cache: SegmentCache | None = None,
    ) -> None:
        if not 0 <= keep <= 1:
            raise ConfigurationError(f"keep is {keep}, not between 0 and 1")
        sizes = {"window": window_tokens, "pool": pool_tokens, "neighbour": neighbour_tokens}
        for name, size in sizes.items():
            if size < 1:
                raise ConfigurationError(f"{name}_tokens is {size}", hint="give 1 or more")
        self._engine = engine
        self._count = count
        self._keep = keep
        self._window, self._pool, self._neighbours = sizes.values()
        self._cache = MemoryCache() if cache is None else cache

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        """What is left of the parts, which are read one after the other.

        Attention is no probability: the target's `threshold` and `fill` do not count, and the budget is always filled.

        Raises:
            ConfigurationError: the question is empty.
            EngineError: the question is over the window, or the attention is no number.
            ModelError: the engine's model can't be used for this.
            Cancelled: the watch said so; windows that were read until then are cached.
        """
        before = sum(self._count(part.text) for part in parts)
        budget = int(before * self._keep) if target.max_tokens is None else target.max_tokens
        if before <= budget:
            return tuple(parts)
        if budget == 0:
            return ()
        placed = [self._engine.placed(part.text) for part in parts]
        read = self._read(question, [token for ids, _ in placed for token in ids], watch or Watch())
        values = np.split(read, np.cumsum([len(ids) for ids, _ in placed])[:-1])
        room = budget
        while room > 0:
            chosen = strongest(values, room, self._pool, self._neighbours)
            kept = tuple(
                piece
                for part, (_, offsets), numbers in zip(parts, placed, chosen, strict=True)
                for piece in _pieces(part, offsets, numbers)
            )
            # Words that are made whole, and pieces that are encoded alone, may take more tokens.
            tokens = sum(self._count(piece.text) for piece in kept)
            if tokens <= budget:
                return kept
            room = min(room - 1, room * budget // tokens)
        return ()

    def _read(self, question: str, ids: Sequence[int], watch: Watch) -> Floats:
        """[ids]: the attention to each, window by window."""
        most = self._engine.model.window - self._count(question) - AROUND_TOKENS
        windows = -(-len(ids) // max(min(self._window, most), SMALLEST_WINDOW))
        edges = [len(ids) * number // windows for number in range(windows + 1)] if windows else [0]
        found = np.zeros(len(ids))
        for number in range(windows):
            first, last = edges[number], edges[number + 1]
            found[first:last] = self._window_of(question, ids[first:last], watch)
            watch.progress("scanning", number + 1, windows)
        if not np.isfinite(found).all():
            raise EngineError("the model's attention is no number", hint="try --device cpu, or another model")
        return found

    def _window_of(self, question: str, ids: Sequence[int], watch: Watch) -> Floats:
        digest = hashlib.sha256(array("I", ids).tobytes()).hexdigest()
        asked = hashlib.sha256(question.encode(errors="surrogatepass")).hexdigest()
        by = f"draft/{VERSION}/{self._engine.model.fingerprint}"
        key = SegmentKey(digest, f"importance/{asked}", under(watch.namespace, by))
        held = self._cache.get(key)
        if held is None:
            held = np.array(self._engine.importance(ids, question, watch), "<f4").tobytes()
            self._cache.put(key, held)
        return np.frombuffer(held, "<f4").astype(np.float64)


def strongest(values: Sequence[Floats], room: int, pool: int, neighbours: int) -> list[NDArray[np.intp]]:
    """Of each text the numbers of at most `room` tokens of all texts together, in order.

    The strongest token within the pool counts for all tokens in it. They are taken from the strongest on, each with its
    neighbours, the nearest first, until there is no room: so what was found first has what stands around it, and not
    only what was found last is cut.

    Args:
        values: of each text, [tokens]; what is 0 all over a pool is never taken.
    """
    pooled = [_pooled(each, pool) for each in values]
    everything = np.concatenate(pooled) if pooled else np.zeros(0)
    ends = np.cumsum([len(each) for each in pooled], dtype=np.intp)
    starts = ends - [len(each) for each in pooled]
    around = sorted(range(-(neighbours // 2), neighbours - neighbours // 2 + 1), key=lambda step: (abs(step), step))
    taken = np.zeros(len(everything), bool)
    left = room
    # Of a pool the token that it has its strength from comes first.
    for at in np.lexsort((-np.concatenate([*values, np.zeros(0)]), -everything)):
        if left <= 0 or everything[at] <= 0:
            break
        text = int(np.searchsorted(ends, at, side="right"))
        for step in around:
            near = at + step
            if left > 0 and starts[text] <= near < ends[text] and not taken[near]:
                taken[near] = True
                left -= 1
    return [np.flatnonzero(taken[start:end]) for start, end in zip(starts, ends, strict=True)]


def _pooled(values: Floats, width: int) -> Floats:
    """[tokens]: the strongest of `width` tokens around each."""
    if not len(values):
        return values
    padded = np.pad(values, (width // 2, width - 1 - width // 2))
    pooled: Floats = np.lib.stride_tricks.sliding_window_view(padded, width).max(-1)
    return pooled


def _pieces(part: Part, offsets: Sequence[tuple[int, int]], numbers: NDArray[np.intp]) -> list[Part]:
    """Runs of chosen tokens as parts of their own."""
    text, begin = part.text, part.span.start
    spans: list[tuple[int, int]] = []
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if len(numbers) else ():
        start, end = _whole_words(text, offsets[run[0]][0], offsets[run[-1]][1])
        if spans and not text[spans[-1][1] : start].strip():
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        elif text[start:end].strip():
            spans.append((start, end))
    if spans == [(0, len(text))]:
        return [part]
    return [
        Part(text[start:end], Span(part.span.document_id, begin + start, begin + end), part.title)
        for start, end in spans
    ]


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """With the rest of the words that the characters begin and end in, where no more than WORD is missing."""
    first, last = start, end
    while _inside_word(text, first) and start - first <= WORD:
        first -= 1
    while _inside_word(text, last) and last - end <= WORD:
        last += 1
    return (start if start - first > WORD else first), (end if last - end > WORD else last)


def _inside_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and not text[at - 1].isspace() and not text[at].isspace()


if TYPE_CHECKING:
    _: type[Compressor] = DraftCompressor

"""A sequence whose documents were read before, each segment by itself: their keys and values are put in place, and what
comes after them is read over all of them (APE, arXiv 2502.05431)."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from turnout.engines.paged.pages import PAGE
from turnout.engines.paged.plan import Parallel
from turnout.engines.paged.runner import Feed
from turnout.engines.paged.sequence import Fragment, KvSequence
from turnout.engines.scheduler.owner import on_owner

if TYPE_CHECKING:
    import torch

_KEPT = 1 << 31


@dataclass(frozen=True)
class Kept:
    """Keys and values of a segment.

    Attributes:
        tokens: that they are of.
        value: [2, layers, tokens, heads, dim] of the pool's precision, keys before values; keys are turned as they
            stand after the beginning that the segment was read after.
        key: what they are, exactly: equal keys mean equal values.
    """

    tokens: int
    value: bytes
    key: bytes

    @cached_property
    def ids(self) -> list[int]:
        """One for each token, none of which a tokenizer has: a token of another segment is another one, though it be of
        the same text."""
        digest = hashlib.shake_256(self.key).digest(4 * self.tokens)
        return [_KEPT | number for number in array("I", digest)]

    def __len__(self) -> int:
        return self.tokens


@dataclass(frozen=True)
class ParallelPrompt:
    """A prompt with segments in the place of its documents.

    Attributes:
        before: ids that every segment was read after.
        after: ids that come after all of them.
        temperature, scale: see `plan.Parallel`.
    """

    before: Sequence[int]
    segments: Sequence[Kept]
    after: Sequence[int]
    temperature: float
    scale: float

    @cached_property
    def ids(self) -> list[int]:
        """Of all of it, see `Kept.ids`."""
        return [*self.before, *(token for kept in self.segments for token in kept.ids), *self.after]

    @property
    def layout(self) -> Parallel:
        """How what comes after the segments looks at them."""
        begin, tokens = len(self.before), list(map(len, self.segments))
        return Parallel(begin, begin + sum(tokens), max(tokens, default=0), self.temperature, self.scale)

    @property
    def root(self) -> str:
        """What else its keys and values depend on, and those of an answer to it."""
        return f"parallel:{self.temperature:g}x{self.scale:g}"


class ParallelSequence(KvSequence):
    """Reads one `ParallelPrompt`, and goes on as any other; the segments' order changes nothing but rounding."""

    _layout: Parallel | None = None

    def begin_prompt(self, prompt: ParallelPrompt, *, more: int = 0) -> None:
        """As `begin`, of such a prompt."""
        self.begin(prompt.ids, more=more)
        self._layout = prompt.layout

    def read_prompt(self, prompt: ParallelPrompt) -> Iterator[tuple[int, torch.Tensor | None]]:
        """Reads a prompt that was begun, but for what was resident of it.

        Yields:
            After each step, the tokens that are there, and the logits [vocabulary] after them; None after a segment.
        """
        yield from self._read(prompt.before, prompt.layout.begin)
        for tokens in self._placed(prompt):
            yield tokens, None
        yield from self._read(prompt.after, len(prompt.ids))
        self.publish()

    def _read(self, ids: Sequence[int], end: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads what is left of ids that end at token `end`."""
        while self.length < end:
            first = len(ids) - (end - self.length)
            logits = self.append(ids[first : first + self.chunk], is_prompt=True)
            yield self.length, logits[0]

    def _placed(self, prompt: ParallelPrompt) -> Iterator[int]:
        """Puts the segments in place, one a step; yields the tokens that are there."""
        end = len(prompt.before)
        for kept in prompt.segments:
            end += len(kept)
            if self.length < end:
                self._put(kept, len(kept) - (end - self.length))
                yield self.length

    @on_owner
    def _put(self, kept: Kept, first: int) -> None:
        """Puts the rest of a segment, from its token `first` on, where the sequence's next tokens go."""
        import torch

        pool, shape, new = self._residency.pool, self._residency.pool.shape, len(kept) - first
        self._make_room(new)
        slots = torch.tensor(self._slots(self.length, self.length + new), device=pool.keys[0].device)
        flat = torch.frombuffer(bytearray(kept.value), dtype=pool.keys[0].dtype)
        read = flat.view(2, shape.layers, len(kept), shape.heads, shape.dim)[:, :, first:].to(slots.device)
        for layers, values in zip((pool.keys, pool.values), read, strict=True):
            for layer, value in zip(layers, values, strict=True):
                layer[slots] = value
        self._has_read([kept.ids[first:]], exactly=True)
        self.reused += new

    @on_owner
    def taken(self, first: int) -> bytes:
        """The keys and values of its tokens from `first` on, as `Kept.value`."""
        import torch

        pool = self._residency.pool
        slots = torch.tensor(self._slots(first, self.length), dtype=torch.long, device=pool.keys[0].device)
        both = [torch.stack([layer[slots] for layer in layers]) for layers in (pool.keys, pool.values)]
        return torch.stack(both).cpu().contiguous().view(torch.uint8).numpy().tobytes()

    def fork(self) -> Self:
        """See `KvSequence.fork`."""
        other = super().fork()
        other._layout = self._layout
        return other

    def _slots(self, first: int, end: int) -> list[int]:
        return [self._pages[at // PAGE] * PAGE + at % PAGE for at in range(first, end)]

    def _feed(self, fragments: Sequence[Fragment], logits: Sequence[int], *, is_prompt: bool = False) -> Feed:
        feed = super()._feed(fragments, logits, is_prompt=is_prompt)
        layout = self._layout
        # What comes before the segments knows nothing of them.
        return feed if layout is None or self.length < layout.end else replace(feed, parallel=layout)

"""A sequence: tokens that the model has read, which can be continued, forked and shortened."""

from __future__ import annotations

import copy
import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from types import TracebackType
from typing import TYPE_CHECKING, Self

from turnout.engines.memory import PREFILL_CHUNK
from turnout.engines.paged.chosen import ChosenPages
from turnout.engines.paged.kinds import Adapted
from turnout.engines.paged.pages import PAGE, pages_for
from turnout.engines.paged.plan import Watch
from turnout.engines.paged.policy import AttentionPolicy, grid_of
from turnout.engines.paged.residency import Residency
from turnout.engines.paged.runner import Feed, Runner
from turnout.engines.paged.tree import Tree
from turnout.engines.scheduler.owner import Owner, on_owner

if TYPE_CHECKING:
    import torch

_SOFT = 1 << 31


class Soft:
    """Embeddings in place of tokens.

    Args:
        values: [tokens, hidden].
        key: what they are, exactly: equal keys mean equal values. Beginnings with embeddings are found again by it.
    """

    def __init__(self, values: torch.Tensor, key: bytes) -> None:
        digest = hashlib.shake_256(key).digest(4 * len(values))
        self.values = values
        self.ids = [_SOFT | number for number in array("I", digest)]
        """One for each embedding, none of which a tokenizer has."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: slice) -> Soft:
        part = copy.copy(self)
        part.values, part.ids = self.values[place], self.ids[place]
        return part


Fragment = Sequence[int] | Soft
"""Token ids, which may be a `Tree`, or embeddings."""


class KvSequence:
    """Empty when it is made; `close` gives its pages back, and leaves what it has read for others.

    Args:
        root: what its keys and values may be found under again, see `Residency`.
        adapted: which adapter reads, where the model has one that can be switched.
        policy: what a prompt's tokens look at, in whole chunks, and new tokens, where it chooses pages for them; what
            is appended otherwise looks at everything.
        owner: the thread in which all is done; the caller's by default.

    Attributes:
        ids: what it has read; embeddings have ids of their own, see `Soft`.
        reused: how many tokens of its prompt did not have to be read.
        chunk: prompt tokens of a step.
        grid: tokens that are found again together, see `Residency`.
    """

    def __init__(
        self,
        runner: Runner,
        residency: Residency,
        root: str = "",
        *,
        adapted: Adapted = True,
        chunk: int = PREFILL_CHUNK,
        policy: AttentionPolicy | None = None,
        owner: Owner | None = None,
    ) -> None:
        self.chunk = chunk
        self.owner = owner
        self.grid = grid_of(policy, chunk)
        self.root = root
        self._given = policy
        self._policy = policy.reading if policy is not None else None
        self._chosen = ChosenPages(policy.decode) if policy is not None and policy.decode is not None else None
        self._runner = runner
        self._adapted = adapted
        self._residency = residency
        self._pages: list[int] = []
        self._exact = 0
        self._branching: tuple[Tree, bool] | None = None
        self.ids: list[int] = []
        self.reused = 0

    @property
    def length(self) -> int:
        """Tokens that it has read."""
        return len(self.ids)

    @property
    def read_together(self) -> int:
        """Tokens of a prompt that have to be read in one step, from a multiple of them on; 1 for any number."""
        return 1 if self._policy is None else self.grid

    @on_owner
    def reserve(self, tokens: int) -> None:
        """Takes the pages for `tokens` tokens more, in one run where there is one.

        Raises:
            MemoryLimitError: so many pages are not to be had; nothing is changed.
        """
        missing = pages_for(self.length + tokens) - len(self._pages)
        if missing > 0:
            self._pages += self._residency.take(missing, self._pages[-1] if self._pages else None)

    def prefill(self, *fragments: Fragment, more: int = 0) -> torch.Tensor:
        """Reads a prompt as `reading` does; returns the logits [vocabulary] after its last token."""
        for _, logits in self.reading(*fragments, more=more):
            last = logits
        return last

    def reading(self, *fragments: Fragment, more: int = 0) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads a prompt into an empty sequence, at most `chunk` tokens a step; what is resident of it is taken over.

        Args:
            more: tokens to be appended later, whose pages are taken at once.

        Yields:
            After each step, the tokens read so far and the logits [vocabulary] after them.
        """
        self.begin(*fragments, more=more)
        yield from self.read_on(*fragments)

    def read_on(self, *fragments: Fragment) -> Iterator[tuple[int, torch.Tensor]]:
        """As `reading`, of a prompt that was begun."""
        total = len(_ids(fragments))
        for pieces in _chunks(fragments, self.length, self.chunk):
            logits = self.append(*pieces, is_prompt=True)
            if self.length == total:
                self.publish()
            yield self.length, logits[0]

    @on_owner
    def begin(self, *fragments: Fragment, more: int = 0) -> None:
        """Takes over what is resident of a prompt, and the pages for the rest of it and `more` tokens.

        Raises:
            ValueError: the sequence is not empty, or the prompt is.
            MemoryLimitError: so many pages are not to be had; nothing is changed.
        """
        ids = _ids(fragments)
        if self.ids or not ids:
            raise ValueError(f"a prompt is read into an empty sequence: {self.length:,} read, {len(ids):,} given")
        self._residency.pool.drop(self._pages)
        self._pages = []
        # The last token is always read: its logits are what an answer begins with.
        self._pages = self._residency.match(self.root, ids[:-1], self.grid)
        self.reused = self._exact = len(self._pages) * PAGE
        self.ids = ids[: self.reused]
        try:
            self.reserve(len(ids) - self.length + more)
        except BaseException:
            self._residency.pool.drop(self._pages)
            self._pages, self.ids, self._exact, self.reused = [], [], 0, 0
            raise

    @on_owner
    def publish(self) -> None:
        """Lets others find what is read so far."""
        self._residency.keep(self.root, self._kept(), self._pages, self.grid)

    @on_owner
    def resident(self, ids: Sequence[int]) -> int:
        """Tokens of a prompt that it would not have to read."""
        return self._residency.resident(self.root, ids[:-1], self.grid)

    @on_owner
    def append(
        self,
        *fragments: Fragment,
        logits: Sequence[int] = (-1,),
        columns: Sequence[int] | None = None,
        is_prompt: bool = False,
    ) -> torch.Tensor:
        """Reads tokens or embeddings in one step; or a tree alone, which has to be followed before anything else.

        Args:
            logits: the new tokens after which logits are wanted, from 0, or from the end below 0.
            columns: the tokens of the vocabulary whose logits are wanted, by the weights as they are, also where
                others are in int8; all by default.
            is_prompt: read them as a chunk of a prompt is read.

        Returns:
            [wanted, columns]

        Raises:
            ValueError: nothing to read, or logits after a token that is not there.
            MemoryLimitError: no room for the keys and values; nothing is changed.
        """
        return step(self._runner, [(self, fragments, logits)], columns, is_prompt=is_prompt)

    @on_owner
    def pretend(self, tokens: int) -> None:
        """Goes on as if `tokens` more had been read, with keys and values of those that were: what is read after them
        takes the time that it would take, and means nothing. Nobody finds them again.

        Raises:
            ValueError: nothing was read before.
            MemoryLimitError: so many pages are not to be had; nothing is changed.
        """
        before = self.length
        if not before:
            raise ValueError("there are no keys and values to go on with")
        self._make_room(tokens)
        self.ids += [0] * tokens
        self._residency.pool.move(
            [self._slot(token % before) for token in range(before, self.length)],
            [self._slot(token) for token in range(before, self.length)],
        )

    def attention_rows(self, layer: int, *fragments: Fragment) -> torch.Tensor:
        """Reads tokens as `append` does, and returns what they look at in a layer: [query heads, new, length]."""
        return self.observe([layer], *fragments)[0][layer]

    @on_owner
    def observe(self, layers: Sequence[int], *fragments: Fragment) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
        """Reads tokens as `append` does, never with weights in int8.

        Returns:
            layer -> what they look at there, [query heads, new, length], and the logits [vocabulary] after the last.
        """
        most = self._residency.pool.shape.layers
        if wrong := [layer for layer in layers if not 0 <= layer < most]:
            raise ValueError(f"layer {wrong[0]} is not one of the model's {most}")
        self._make_room(len(_ids(fragments)))
        feed = replace(self._feed(fragments, (-1,)), chosen=None)
        logits, plan = self._runner.step([feed], observe=layers, is_prompt=True)
        self._has_read(fragments, exactly=True)
        return {layer: plan.observed[layer][0] for layer in layers}, logits[0]

    def log_probabilities(self, ids: Sequence[int], logits: torch.Tensor) -> list[float]:
        """Reads a continuation; returns the natural logarithm of each token's probability.

        Args:
            logits: [vocabulary] after what was read before, which foretell the first token.
        """
        import torch

        if not ids:
            return []
        after = self.append(ids, logits=range(len(ids) - 1))
        foretold = torch.log_softmax(torch.cat([logits[None], after]).float(), -1)
        found: list[float] = foretold[torch.arange(len(ids)), torch.tensor(ids)].tolist()
        return found

    @on_owner
    def fork(self) -> Self:
        """Another sequence that has read the same; nothing is copied until one of them goes on inside a page."""
        other = type(self)(
            self._runner,
            self._residency,
            self.root,
            adapted=self._adapted,
            chunk=self.chunk,
            policy=self._given,
            owner=self.owner,
        )
        other._chosen = self._chosen.fork() if self._chosen is not None else None
        other.ids, other._exact, other._branching = list(self.ids), self._exact, self._branching
        other._pages = self._pages[: pages_for(self.length)]
        self._residency.pool.share(other._pages)
        return other

    @on_owner
    def truncate(self, length: int, *, more: int = 0) -> None:
        """Forgets all but the first `length` tokens.

        Args:
            more: tokens to be appended later, whose pages stay, so far as they are its own.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"a sequence of {self.length:,} tokens can't be cut to {length:,}")
        if self._branching is not None and length > self.length - len(self._branching[0]):
            raise ValueError("within a tree nothing can be cut: follow it")
        self._branching = None
        pool, first = self._residency.pool, pages_for(length)
        spare = takewhile(lambda page: pool.users(page) == 1, self._pages[first : pages_for(length + more)])
        kept = first + len(list(spare))
        pool.drop(self._pages[kept:])
        del self._pages[kept:], self.ids[length:]
        self._exact = min(self._exact, length)
        if self._chosen is not None:
            self._chosen.cut(length)

    @on_owner
    def follow(self, places: Sequence[int], *, more: int = 0) -> None:
        """Keeps one way through the tree that was read last, and forgets the rest of it.

        Args:
            places: of the tokens that are kept, each of which follows the one before it; of none, nothing is kept.
            more: see `truncate`.

        Raises:
            ValueError: no tree was read, or it has no such way.
        """
        if self._branching is None or not self._branching[0].is_path(places):
            raise ValueError(f"there is no tree that could be followed to {list(places)}")
        tree, is_exact = self._branching
        start = self.length - len(tree)
        moved = [(start + place, start + at) for at, place in enumerate(places) if place != at]
        if moved:
            sources, targets = ([self._slot(token) for token in tokens] for tokens in zip(*moved, strict=True))
            self._residency.pool.move(sources, targets)
        self.ids[start : start + len(places)] = [tree[place] for place in places]
        self._branching = None
        self.truncate(start + len(places), more=more)
        if is_exact:
            self._exact = self.length

    @on_owner
    def close(self, *, keep: bool = True) -> None:
        """Gives the pages back; safe to call twice.

        Args:
            keep: leave what was read for others to find.
        """
        ids = self._kept()
        try:
            if keep:
                self._residency.keep(self.root, ids, self._pages, self.grid)
                self._residency.save(self.root, ids, self._pages, self.grid)
        finally:
            self._residency.pool.drop(self._pages)
            self._pages, self.ids, self._exact, self._branching = [], [], 0, None
            if self._chosen is not None:
                self._chosen.cut(0)

    def __enter__(self) -> KvSequence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kept(self) -> list[int]:
        """What others may find. What was read with weights in int8, over chosen pages, or with a policy and not in
        whole chunks, would be found in place of what a prompt is read with."""
        return self.ids[: self._exact // self.grid * self.grid]

    def _slot(self, token: int) -> int:
        return self._pages[token // PAGE] * PAGE + token % PAGE

    def _make_room(self, tokens: int) -> None:
        """Pages of its own for the next tokens: a page that others have too is copied before it is written to."""
        pool, inside = self._residency.pool, self.length % PAGE
        last = self.length // PAGE
        if inside and pool.users(self._pages[last]) > 1:
            (own,) = self._residency.take(1)
            pool.copy(self._pages[last], own, inside)
            pool.drop([self._pages[last]])
            self._pages[last] = own
        self.reserve(tokens)

    def _has_read(self, fragments: Sequence[Fragment], *, exactly: bool, policy: AttentionPolicy | None = None) -> None:
        """Args: exactly: not with weights in int8, and over all pages or by the policy. policy: that they were read
        with."""
        # With a policy a chunk counts whole alone: what its tokens see depends on where the step began.
        is_whole = policy is self._policy and (policy is None or len(_ids(fragments)) <= self.grid)
        is_exact = exactly and self._exact == self.length and is_whole
        self.ids += _ids(fragments)
        if (tree := _tree(fragments)) is not None:
            self._branching = tree, is_exact
        elif is_exact:
            self._exact = self.length

    def _feed(self, fragments: Sequence[Fragment], logits: Sequence[int], *, is_prompt: bool = False) -> Feed:
        new = len(_ids(fragments))
        wrong = [at for at in logits if not -new <= at < new]
        if wrong:
            raise ValueError(f"logits after token {wrong[0]} are wanted, of {new:,} new ones")
        values = [fragment.values if isinstance(fragment, Soft) else fragment for fragment in fragments]
        tree = _tree(fragments)
        if self._branching is not None or (tree is not None and (is_prompt or len(fragments) > 1)):
            raise ValueError("a tree is read alone, and followed before anything else is read")
        policy = self._policy if is_prompt and self.length % self.grid == 0 else None
        chosen = (
            None if is_prompt or self._chosen is None or not self._chosen.is_for(self.length, new) else self._chosen
        )
        wanted = [at % new for at in logits]
        return Feed(self._pages, self.length, values, new, wanted, self._adapted, policy, tree, chosen=chosen)


def step(
    runner: Runner,
    feeds: Sequence[tuple[KvSequence, Sequence[Fragment], Sequence[int]]],
    columns: Sequence[int] | None = None,
    *,
    is_prompt: bool = False,
) -> torch.Tensor:
    """Reads new tokens of several sequences in one step.

    Args:
        feeds: (sequence, fragments, tokens after which logits are wanted), see `KvSequence.append`.
        columns, is_prompt: see `Runner.step`.

    Returns:
        [wanted, columns], feed after feed.
    """
    for sequence, fragments, _ in feeds:
        if not any(map(len, fragments)):
            raise ValueError("a step without a token reads nothing")
        sequence._make_room(len(_ids(fragments)))
    read = [sequence._feed(fragments, wanted, is_prompt=is_prompt) for sequence, fragments, wanted in feeds]
    logits, _ = runner.step(read, columns=columns, is_prompt=is_prompt)
    for (sequence, fragments, _), feed in zip(feeds, read, strict=True):
        exactly = feed.chosen is None and (is_prompt or not runner.int8)
        sequence._has_read(fragments, exactly=exactly, policy=feed.policy)
    return logits


def watched(runner: Runner, sequence: KvSequence, ids: Sequence[int], watch: Watch) -> None:
    """Reads tokens in one step, as of a prompt, and shows each layer's attention, see `Runner.step`."""
    sequence._make_room(len(ids))
    # A policy, though one that is dense: its chunks know where all of their keys lie.
    feed = replace(sequence._feed([ids], ()), policy=AttentionPolicy(), chosen=None)
    runner.step([feed], is_prompt=True, watch=watch)
    sequence._has_read([ids], exactly=True)


def _tree(fragments: Sequence[Fragment]) -> Tree | None:
    return next((fragment for fragment in fragments if isinstance(fragment, Tree)), None)


def _ids(fragments: Iterable[Fragment]) -> list[int]:
    return [token for fragment in fragments for token in (fragment.ids if isinstance(fragment, Soft) else fragment)]


def _chunks(fragments: Sequence[Fragment], done: int, size: int) -> Iterator[list[Fragment]]:
    """What is left to read after the first `done` tokens, at most `size` a step, on the grid from token 0."""
    chunk: list[Fragment] = []
    at = 0
    for fragment in fragments:
        start, end = max(done - at, 0), 0
        while start < len(fragment):
            end = min(len(fragment), start + size - (at + start) % size)
            chunk.append(fragment[start:end])
            if (at + end) % size == 0:
                yield chunk
                chunk = []
            start = end
        at += len(fragment)
    if chunk:
        yield chunk

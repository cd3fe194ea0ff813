"""What tests of speculative decoding share: tiny models over pages, and a pace that always proposes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from support import kv
from turnout.engines.answering import Alone, Ask, Author, Steps
from turnout.engines.speculative.pace import Pace
from turnout.engines.writing import Writing
from turnout.types import GenerationParams


class Eager(Pace):
    """Proposes whenever it can."""

    def pays(self, chances: Sequence[float], least: int = 0) -> int:
        return len(chances)


@dataclass
class Model:
    """A random model in float32 with pages of its own."""

    name: str = "llama"
    pages: int = 64
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        from turnout.engines.paged.pages import PagePool
        from turnout.engines.paged.residency import Residency
        from turnout.engines.paged.runner import Runner

        self.network = kv.network(self.name, **self.config)
        pool = PagePool(kv.shape(self.network), self.pages, torch.float32, "cpu")
        self.runner = Runner(self.network, pool, "cpu")
        self.residency = Residency(pool)

    @cached_property
    def network_as_it_is(self) -> Any:
        """The same, computed as transformers does."""
        return kv.network(self.name, **self.config)

    def sequence(self) -> Any:
        from turnout.engines.paged.sequence import KvSequence

        return KvSequence(self.runner, self.residency, "m")

    def plain(self, ids: list[int], params: GenerationParams) -> list[int]:
        """The answer without proposals."""
        writing = written(params)
        with self.sequence() as sequence:
            return tokens(Alone(sequence, ids, writing), writing)


def written(params: GenerationParams, ends: tuple[int, ...] = ()) -> Writing:
    return Writing(params, lambda ids: "".join(chr(97 + token % 26) for token in ids), ends, "cpu")


def tokens(author: Author, writing: Writing) -> list[int]:
    """All that it writes."""
    read(author)
    return list(_written(author, writing))


def read(author: Author) -> None:
    """Begins and reads the prompt."""
    author.begin()
    for _ in numbers(author.reading()):
        pass


def numbers(steps: Steps) -> Iterator[int]:
    """An author's steps, with what it asks for read at once."""
    rows = None
    while True:
        try:
            item = steps.send(rows)
        except StopIteration:
            return
        rows = None
        if isinstance(item, Ask):
            wanted = range(len(item.ids) - item.rows, len(item.ids))
            rows = item.sequence.append(item.ids, logits=wanted, is_prompt=item.is_prompt)  # type: ignore[call-arg]
        elif item is not None:
            yield item


def _written(author: Author, writing: Writing) -> Iterator[int]:
    steps = author.tokens()
    for token in numbers(steps):
        writing.write(token)
        yield token
        if writing.reason is not None:
            break
    steps.close()


def words(count: int, seed: int = 1, vocabulary: int = 400) -> list[int]:
    return random.Random(seed).choices(range(3, vocabulary), k=count)


def repeating(count: int, seed: int = 1, vocabulary: int = 400) -> list[int]:
    """Text that says some things again, as documents do."""
    source = random.Random(seed)
    phrases = [words(source.randrange(2, 9), seed=100 * seed + n, vocabulary=vocabulary) for n in range(6)]
    ids: list[int] = []
    while len(ids) < count:
        ids += source.choice(phrases)
    return ids[:count]

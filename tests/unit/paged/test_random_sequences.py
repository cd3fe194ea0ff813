"""Sequences that are read, continued, forked, cut and dropped at random: no page is lost, and every logit is right."""

import random

import pytest
from support import kv

torch = pytest.importorskip("torch")

from turnout.engines.paged.pages import PagePool, pages_for  # noqa: E402
from turnout.engines.paged.residency import Residency  # noqa: E402
from turnout.engines.paged.runner import Runner  # noqa: E402
from turnout.engines.paged.sequence import KvSequence, step  # noqa: E402
from turnout.errors import MemoryLimitError  # noqa: E402

PAGES = 14
SEQUENCES = 1000
"""Of each kind of model."""
CONFIG = {"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
          "num_key_value_heads": 1, "vocab_size": 50}  # fmt: skip


class Play:
    """Some live sequences over a small pool; each draws its tokens from few, so that beginnings repeat."""

    def __init__(self, name: str, seed: int) -> None:
        self.draw = random.Random(seed)
        self.model = kv.network(name, **CONFIG)
        self.plain = kv.network(name, **CONFIG)
        self.pool = PagePool(kv.shape(self.model), PAGES, torch.float32, "cpu")
        self.runner = Runner(self.model, self.pool, "cpu")
        self.residency = Residency(self.pool)
        self.live: list[KvSequence] = []
        self.refused = 0

    def turn(self) -> None:
        """One thing at random; what there is no room for leaves everything as it was."""
        kind = self.draw.choice(["prefill", "append", "together", "fork", "truncate", "drop"])
        if not self.live or (kind == "prefill" and len(self.live) < 6):
            self.prefill()
            return
        sequence = self.draw.choice(self.live)
        length = sequence.length
        try:
            if kind == "append":
                self.append(sequence)
            elif kind == "together":
                self.append_together()
            elif kind == "fork":
                self.live.append(sequence.fork())
            elif kind == "truncate":
                sequence.truncate(self.draw.randrange(1, length + 1))
            else:
                sequence.close()
                self.live.remove(sequence)
        except MemoryLimitError:
            self.refused += 1
            assert sequence.length == length

    def prefill(self) -> None:
        sequence = KvSequence(self.runner, self.residency, self.draw.choice("ab"))
        stem = [self.draw.randrange(3)] * self.draw.choice([0, 64, 128, 192])
        try:
            found = sequence.prefill(stem + self.tokens(1, 150))
        except MemoryLimitError:
            self.refused += 1
            sequence.close()
            return
        self.live.append(sequence)
        self.check(sequence, found)

    def append(self, sequence: KvSequence) -> None:
        self.check(sequence, sequence.append(self.tokens(1, 90))[0])

    def append_together(self) -> None:
        """A step of some of them; one that has no room stops it for all."""
        some = self.draw.sample(self.live, self.draw.randint(1, len(self.live)))
        found = step(self.runner, [(one, [self.tokens(1, self.draw.choice([1, 1, 5]))], (-1,)) for one in some])
        for one, row in zip(some, found, strict=True):
            self.check(one, row)

    def tokens(self, least: int, most: int) -> list[int]:
        return self.draw.choices(range(50), k=self.draw.randint(least, most))

    def check(self, sequence: KvSequence, found: "torch.Tensor") -> None:
        """Against one fresh pass over the same tokens."""
        assert (found - kv.logits(self.plain, sequence.ids)[-1]).abs().max() < 1e-4

    def balanced(self) -> None:
        """Who uses each page is who holds it: the live sequences and the tree."""
        held = [page for sequence in self.live for page in sequence._pages]
        kept = [node.page for node in self.residency._tree._nodes()]
        assert len(kept) == len(set(kept))
        counts = [held.count(page) + kept.count(page) for page in range(PAGES)]
        assert counts == [self.pool.users(page) for page in range(PAGES)]
        assert all(len(sequence._pages) >= pages_for(sequence.length) for sequence in self.live)
        if self.draw.random() < 0.05:  # what is said to be there can be had
            taken = self.residency.take(self.residency.available())
            self.pool.drop(taken)


@pytest.mark.parametrize("name", ["llama", pytest.param("mistral", marks=pytest.mark.slow)])
def test_no_page_is_lost_and_every_logit_is_right(name: str) -> None:
    play, begun = Play(name, seed=5), 0
    while begun < SEQUENCES:
        before = len(play.live)
        play.turn()
        begun += len(play.live) > before
        play.balanced()
    assert play.refused, "the pool was never too small: nothing was tried at its limit"
    for sequence in play.live:
        sequence.close()
    play.live = []
    play.balanced()
    play.residency._tree.evict(PAGES)
    assert play.pool.free == PAGES and len(play.residency._tree) == 0

"""Drafting and verifying on a GPU, against the formula that the router predicts with: a model of the 8B class with
random weights drafts for itself over 4,096 tokens, and each drafted token is accepted with a probability that is given,
since random weights agree on nothing.

Predicted is E / (gamma c + v), with E = 1 + a + ... + a^gamma, c a step over the drafter's context and v a verifying
step, both over a plain step at the target's context, all measured here (methods of arXiv 2211.17192 and 2502.20330).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import engine as paged
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from turnout.engines.answering import Alone, Ask, Author
from turnout.engines.paged.pages import PAGE, KvShape
from turnout.engines.paged.sequence import KvSequence
from turnout.engines.paged.session import Session
from turnout.engines.speculative.laws import Law
from turnout.engines.speculative.pace import Pace, tokens
from turnout.engines.speculative.plan import Speculation
from turnout.engines.speculative.rapid import Rapid
from turnout.engines.writing import Writing
from turnout.types import GenerationParams

SEED = 1


@dataclass(frozen=True)
class Sizes:
    """What is run where; `TINY` is for trying this file itself out on a CPU."""

    device: str = "cuda"
    lengths: tuple[int, ...] = (32_768, 131_072)
    draft: int = 4096
    new: int = 128
    rates: tuple[float, ...] = (0.5, 0.7, 0.9)
    gammas: tuple[int, ...] = (3, 6, 10)
    repeats: int = 5


TINY = Sizes("cpu", (300, 600), 100, 24, (0.5, 0.9), (3,), 2)


class Given(Law):
    """Accepts each token of a draft with the same probability."""

    def __init__(self, rate: float, width: int, device: str) -> None:
        super().__init__(Speculation(), 0.0, torch.Generator(device), width)
        self._rate, self._chances = rate, torch.Generator().manual_seed(SEED)

    def judge(self, drafted: Sequence[int], logits: torch.Tensor, q: Sequence[torch.Tensor]) -> tuple[int, int | None]:
        """As `Law.judge`, which also computes what is thrown away here."""
        _, instead = super().judge(drafted, logits, q)
        right = torch.rand(len(drafted), generator=self._chances) < self._rate
        accepted = [*right.tolist(), False].index(False)
        return accepted, None if accepted == len(drafted) else (instead if instead is not None else drafted[-1])


class Forced(Rapid):
    """Whose drafts are accepted by `Given`."""

    rate = 1.0

    def law(self, logits: torch.Tensor) -> Law:
        """See `Rapid.law`."""
        return Given(self.rate, logits.shape[-1], str(logits.device))


class Always(Pace):
    """Drafts as much as may be."""

    def pays(self, chances: Sequence[float], least: int = 0) -> int:
        """See `Pace.pays`."""
        return len(chances)


def speed(sizes: Sizes, report: Callable[[dict[str, Any]], None]) -> None:
    """Reports a row for each length, rate and gamma."""
    network, shape = _network(sizes)
    for length in sizes.lengths:
        pages = (length + sizes.draft + 4 * sizes.new) // PAGE + 8
        session = Session(network, shape, pages * shape.page_bytes(network.dtype.itemsize), sizes.device, "speculation")
        bench = Bench(session, sizes, length)
        for row in bench.rows():
            report(row)
        bench.close()


class Bench:
    """A target and a drafter that have read their prompts."""

    def __init__(self, session: Session, sizes: Sizes, length: int) -> None:
        self._sizes, self._length = sizes, length
        ids = torch.randint(3, 900, (length,), generator=torch.Generator().manual_seed(SEED)).tolist()
        self._ids, self._draft_ids = ids, ids[-sizes.draft :]
        self._target, self._drafter = session.sequence(), session.sequence()
        for sequence, prompt in ((self._target, self._ids), (self._drafter, self._draft_ids)):
            sequence.prefill(prompt, more=2 * sizes.new)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Measured and predicted."""
        plain = self._written(lambda target, _, writing: Alone(target, self._ids, writing))
        step = self._step(self._target, 1)
        draft = self._step(self._drafter, 1)
        for gamma in self._sizes.gammas:
            verify = self._step(self._target, gamma + 1)
            c, v = draft / step, verify / step
            for rate in self._sizes.rates:
                found = self._written(lambda *given, gamma=gamma, rate=rate: self._forced(*given, gamma, rate))
                yield {
                    "context": self._length,
                    "draft_context": self._sizes.draft,
                    "gamma": gamma,
                    "acceptance": rate,
                    "plain_token_s": plain,
                    "token_s": found,
                    "speedup": plain / found,
                    "predicted": tokens(rate, gamma) / (gamma * c + v),
                    "draft_step": c,
                    "verify_step": v,
                }

    def close(self) -> None:
        """Gives the pages back."""
        for sequence in (self._target, self._drafter):
            sequence.close(keep=False)

    def _forced(self, target: KvSequence, drafter: KvSequence, writing: Writing, gamma: int, rate: float) -> Author:
        how = Speculation(gamma=gamma, confidence=0.0)
        author = Forced(target, drafter, self._ids, self._draft_ids, how, writing, Always())
        author.rate = rate
        return author

    def _written(self, made: Callable[[KvSequence, KvSequence, Writing], Author]) -> float:
        """Seconds a token, median of some answers after one that compiles and captures."""
        found = []
        for _ in range(self._sizes.repeats + 1):
            writing = Writing(GenerationParams(self._sizes.new), lambda ids: " ".join(map(str, ids)), (), "cpu")
            target, drafter = self._target.fork(), self._drafter.fork()
            author = made(target, drafter, writing)
            # What foretells the first token costs nothing here.
            zeros = torch.zeros(1, 900, device=self._sizes.device)
            author._foretold = (zeros[0], zeros[0]) if isinstance(author, Rapid) else zeros  # type: ignore[attr-defined]
            self._wait()
            began = time.perf_counter()
            for _token in _numbers(author, writing):
                pass
            self._wait()
            found.append((time.perf_counter() - began) / self._sizes.new)
            for sequence in (target, drafter):
                sequence.close(keep=False)
        return statistics.median(found[1:])

    def _step(self, sequence: KvSequence, rows: int) -> float:
        """Seconds of one over so many tokens, median."""
        found = []
        for _ in range(4 * self._sizes.repeats):
            with sequence.fork() as fork:
                fork.append([5])  # a page of its own
                self._wait()
                began = time.perf_counter()
                int(fork.append([7] * rows, logits=range(rows))[-1].argmax())
                found.append(time.perf_counter() - began)
                fork.close(keep=False)
        return statistics.median(found[1:])

    def _wait(self) -> None:
        if self._sizes.device != "cpu":
            torch.cuda.synchronize()


def _numbers(author: Author, writing: Writing) -> Iterator[int]:
    """The answer's tokens, with what is asked for read at once."""
    steps, rows = author.tokens(), None
    while writing.reason is None:
        item, rows = steps.send(rows), None
        if isinstance(item, Ask) and isinstance(item.sequence, KvSequence):
            rows = item.sequence.append(item.ids, logits=range(len(item.ids) - item.rows, len(item.ids)))
        elif isinstance(item, int):
            writing.write(item)
            yield item
    steps.close()


def _network(sizes: Sizes) -> tuple[Any, KvShape]:
    if sizes.device != "cpu":
        return paged._random_8b(), paged.SHAPE
    torch.manual_seed(SEED)
    config = LlamaConfig(vocab_size=1000, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024)  # fmt: skip
    return LlamaForCausalLM(config).eval(), KvShape(2, 2, 16)

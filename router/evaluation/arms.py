"""What only measuring needs: what is over the window, left out or cut, and the model asked without any document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from turnout.contracts import Engine
from turnout.documents import Span
from turnout.engines.prompt import CLOSED_BOOK_TASK
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router import citations
from turnout.router.check import is_refusal
from turnout.router.clock import Clock
from turnout.router.cost import candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.questions import new_tokens
from turnout.router.request import Machinery
from turnout.router.signals import Signals
from turnout.types import Budget, Candidate, Context, Finished, GenerationParams, Part, Question, Token, Usage

OverWindow = Literal["leave-out", "cut"]
OVER_WINDOW: tuple[OverWindow, ...] = ("leave-out", "cut")
"""What a run does with a question whose documents `full` can't read whole: it has no answer, as in the product, or one
of a text that is cut in the middle."""


def too_long(candidate: Candidate, budget: Budget) -> dict[str, Any] | None:
    """Which limit of tokens a strategy can't keep with a question, for its row; None where it can."""
    broken, limit = candidate.excluded_by, budget.max_prompt_tokens
    if broken is not None:
        left_out = {"limit": broken.limit, "allowed": broken.allowed, "needed": broken.needed}
        return left_out if broken.limit == "window" else None
    if limit is not None and candidate.prompt_tokens is not None and candidate.prompt_tokens > limit:
        return {"limit": "max_prompt_tokens", "allowed": limit, "needed": candidate.prompt_tokens}
    return None


class CutFull:
    """`full` for every question: what does not fit is cut out of the middle, as LaRA does (arXiv 2502.09977).

    The product never cuts. Whoever wants an answer of `full` to each question all the same gets it marked as cut.
    """

    name = "full"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_cut(self, signals: Signals, budget: Budget) -> bool:
        """Whether the documents are over the window or over `max_prompt_tokens`."""
        return signals.full_tokens > self._room(signals.max_new_tokens, budget)

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `full`, with at most as many prompt tokens as there is room for."""
        tokens = min(signals.full_tokens, self._room(signals.max_new_tokens, budget))
        return candidate(
            self.name, estimate("full", signals, profile), tokens, signals, profile, self._engine.memory_bytes
        )

    def warm(self, corpus: Corpus) -> None:
        """Nothing: no index and no embedder are needed."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """All documents, or as many characters of their beginning and of their end as fit together."""

        def context(parts: tuple[Part, ...]) -> Context:
            return Context(parts, question.text, question.history, question.task)

        room = self._room(new_tokens(question)[0], budget)
        parts = whole(corpus)
        if self._engine.count(context(parts)) <= room:
            return context(parts)
        characters = sum(len(part.text) for part in parts)
        kept = _most(characters, lambda n: self._engine.count(context(ends(parts, n))) <= room)
        return context(ends(parts, kept))

    def _room(self, max_new_tokens: int, budget: Budget) -> int:
        room = self._engine.model.window - max_new_tokens
        return room if budget.max_prompt_tokens is None else min(room, budget.max_prompt_tokens)


def ends(parts: tuple[Part, ...], characters: int) -> tuple[Part, ...]:
    """The first and the last half of so many characters of all parts together; the middle is left out."""
    first, last = characters - characters // 2, characters // 2
    head: list[Part] = []
    for part in parts:
        if first > 0:
            head.append(_piece(part, 0, min(first, len(part.text))))
        first -= len(part.text)
    tail: list[Part] = []
    for part in reversed(parts):
        if last > 0:
            tail.append(_piece(part, max(len(part.text) - last, 0), len(part.text)))
        last -= len(part.text)
    return (*head, *reversed(tail))


def _piece(part: Part, start: int, end: int) -> Part:
    span = Span(part.span.document_id, part.span.start + start, part.span.start + end)
    return Part(part.text[start:end], span, part.title)


def _most(upper: int, fits: Callable[[int], bool], precision: int = 64) -> int:
    """About the largest number below `upper` that fits, found by galloping up from small ones: counting is linear in
    what is counted, and documents may be a hundred times what fits."""
    low, high = 0, min(4096, upper)
    while high < upper and fits(high):
        low, high = high, min(2 * high, upper)
    while high - low > precision:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said without any document."""

    text: str
    abstained: bool
    usage: Usage


def closed_book(question: Question, machinery: Machinery, namespace: str | None) -> Reply:
    """Asks the model without documents: what it scores here it did not get from them."""
    clock, engine = Clock(), machinery.engine
    engine.open()
    context = Context((), question.text, question.history, CLOSED_BOOK_TASK)
    params = GenerationParams(max_tokens=new_tokens(question)[0], cache_namespace=namespace)
    pieces: list[str] = []
    finished = Finished("stop", 0, 0)
    for event in engine.generate(context, params):
        if isinstance(event, Token):
            clock.first_word()
            pieces.append(event.text)
        elif isinstance(event, Finished):
            finished = event
    text = citations.split_quotes("".join(pieces))[0].strip()
    total_s = clock.total_s()
    here = total_s if engine.memory_bytes(finished.prompt_tokens, finished.completion_tokens) is not None else None
    usage = Usage(
        prompt_tokens=finished.prompt_tokens,
        cached_tokens=finished.cached_tokens,
        completion_tokens=finished.completion_tokens,
        first_token_s=finished.first_token_s,
        ttft_s=clock.ttft_s,
        total_s=total_s,
        peak_memory_bytes=finished.peak_memory_bytes,
        cost=machinery.pricing.cost(finished.prompt_tokens, finished.cached_tokens, finished.completion_tokens, here),
    )
    return Reply(text, is_refusal(text), usage)

"""rag:iterative: the reader asks for what it misses, a few times, before it answers.

IterDRAG of inference scaling for long-context retrieval (arXiv 2410.04343, section 3.2), from its description: for a
question of several hops the model writes a sub-question, passages are retrieved for it and added, and so on. There the
model answers each sub-question, and answers and passages all stay in the prompt; here the passages stand for the
answers, and the best of each search share the room of one `rag` prompt, so that what is cited is the documents' own
text and a call never reads more than `rag` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from turnout.contracts import Engine, Retriever
from turnout.documents import Passage
from turnout.engines.prompt import FOLLOW_UP_TASK
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.router.check import is_refusal
from turnout.router.cost import candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.router.strategies.rag import PASSAGES, Rag
from turnout.types import Budget, Candidate, Context, Finished, GenerationParams, Prefilled, Question, Token

FOLLOW_UPS = 3
"""Most searches after the first; the paper goes up to 5."""

FOLLOW_UP_TOKENS = 32
"""Most tokens of a follow-up question."""

FOLLOW_UP_SHARE = 0.5
"""Of the seconds that there are: after these no follow-up is begun, so that there is time for the answer."""

_ENOUGH = re.compile(
    r"^\W*(?:(?:enough|none|nothing)\b|no (?:further|more|other|follow)|(?:yes|no)\W*$)", re.IGNORECASE
)
_LABEL = re.compile(r"^\W*(?:follow[- ]?up(?: question)?|question)\s*:\s*", re.IGNORECASE)


class RagIterative(Rag):
    """As `rag`, with up to `follow_ups` further searches, whose questions the reader writes.

    Args:
        follow_ups: most of them; 0 is `rag`.
        passage_tokens: see `Rag`.
    """

    name = "rag:iterative"

    def __init__(
        self,
        engine: Engine,
        retriever: Retriever,
        follow_ups: int = FOLLOW_UPS,
        *,
        passage_tokens: int | None = None,
    ) -> None:
        super().__init__(engine, retriever, passage_tokens)
        self._follow_ups = follow_ups

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `rag`'s, with as many follow-ups as `max_prompt_tokens` has room for, all of which are counted: a question
        may need fewer."""
        read, whole = self._read(signals, budget)
        prompt = signals.overhead_tokens + read
        calls = self._calls(whole)
        if budget.max_prompt_tokens is not None:
            calls = calls[: max(budget.max_prompt_tokens // prompt - 1, 0)]
        seconds = (profile.prefill_seconds(prompt) + profile.decode_seconds(prompt, written) for written in calls)
        return candidate(
            self.name,
            estimate("full" if whole and not calls else self.name, signals, profile),
            prompt,
            signals,
            profile,
            self._memory_bytes,
            before_s=sum(seconds),
            before_tokens=(len(calls) * prompt, sum(calls)),
        )

    def _calls(self, whole: bool) -> list[int]:
        """Most new tokens of each call before the answer, the one first that stays where there is room for one."""
        return [] if whole else [FOLLOW_UP_TOKENS] * self._follow_ups

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """The best passages of all searches, in document order. Searching ends when the reader misses nothing more or
        asks what was asked before, when a search finds nothing new that fits, or when another prompt could break
        `max_prompt_tokens`, which all calls share.

        Raises:
            Cancelled: the watch said so while a follow-up was written.
        """
        return self._gathered(question, corpus, budget, time.monotonic(), watch or Watch())[0]

    def _gathered(
        self, question: Question, corpus: Corpus, budget: Budget, begin: float, watch: Watch
    ) -> tuple[Context, int | None]:
        """The passages, and what is left of `max_prompt_tokens`."""
        queries = [question.standalone]
        found = [self._retriever.retrieve(question.standalone, corpus, PASSAGES, watch)]
        context = self._context(found[0], question, corpus, budget)
        left = budget.max_prompt_tokens
        while len(queries) <= self._follow_ups and context.parts and not _holds_all(context, corpus):
            asking = self._asking(context, queries)
            if not self._is_room(asking, FOLLOW_UP_TOKENS, self._later(question), left) or is_late(begin, budget):
                break
            written, read = self._written(asking, FOLLOW_UP_TOKENS, watch)
            query, left = follow_up(written), None if left is None else left - read
            if not query or _plain(query) in map(_plain, queries):
                break
            queries.append(query)
            found.append(self._retriever.retrieve(query, corpus, PASSAGES, watch))
            wider = self._context(_in_turn(found), question, corpus, replace(budget, max_prompt_tokens=left))
            if not wider.parts or wider.parts == context.parts:
                break
            context = wider
        return context, left

    def _written(self, asking: Context, most: int, watch: Watch) -> tuple[str, int]:
        """What the reader writes, at most so many tokens, and the tokens of the prompt."""
        pieces: list[str] = []
        read = 0
        params = GenerationParams(max_tokens=most, cache_namespace=watch.namespace)
        for event in self._engine.generate(asking, params):
            match event:
                case Prefilled(done, total):
                    watch.progress("prefill", done, total)
                case Token(text):
                    pieces.append(text)
                case Finished():
                    watch.asked.append((asking.task, event))
                    read += event.prompt_tokens
            watch.go_on()
        return "".join(pieces), read

    def _asking(self, context: Context, queries: Sequence[str]) -> Context:
        """What the reader is asked: the passages, the question, and what was searched for already."""
        asked = "".join(f"\nAlready searched: {query}" for query in queries[1:])
        return Context(context.parts, context.question + asked, context.history, FOLLOW_UP_TASK)

    def _is_room(self, asking: Context, most: int, later: int, left: int | None) -> bool:
        """For this call, and with `max_prompt_tokens` for the prompts after it."""
        tokens = self._engine.count(asking)
        if tokens + most > self._engine.model.window:
            return False
        return left is None or tokens + later <= left

    def _later(self, question: Question) -> int:
        """Tokens of the prompts after a follow-up: an answer's, with all passages."""
        return self._answer_tokens(question)

    def _answer_tokens(self, question: Question) -> int:
        asked = self._engine.count(Context((), question.text, question.history, question.task))
        return asked + self._passage_tokens


def follow_up(written: str) -> str:
    """The question that a reader wrote, on the first line with anything on it; "" where it says that it has enough."""
    line = next((line.strip() for line in written.splitlines() if line.strip()), "")
    query = _LABEL.sub("", line)
    return "" if _ENOUGH.match(query) or is_refusal(query) or not _plain(query) else query


def is_late(begin: float, budget: Budget) -> bool:
    """Whether so much of the time is over that no further call is begun before the answer."""
    return budget.max_total_s is not None and time.monotonic() - begin > FOLLOW_UP_SHARE * budget.max_total_s


def _plain(query: str) -> str:
    return " ".join(re.findall(r"\w+", query.casefold()))


def _in_turn(found: Sequence[Sequence[Passage]]) -> list[Passage]:
    """The best passage of each search, then the second best of each, and so on; each passage once."""
    ranked = (passage for row in zip_longest(*found) for passage in row if passage is not None)
    return list({passage.span: passage for passage in ranked}.values())


def _holds_all(context: Context, corpus: Corpus) -> bool:
    """Whether no search can add anything."""
    read = sum(part.span.end - part.span.start for part in context.parts)
    return read >= sum(segment.span.end - segment.span.start for segment in corpus.segments)

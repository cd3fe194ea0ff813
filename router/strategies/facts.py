"""rag:facts: the reader first states the facts that the answer rests on, and answers from them alone.

ALR2, align retrieval and reasoning (arXiv 2410.03227), from its abstract: one call copies the relevant sentences out of
a long context, and a second one, of the same model, answers from those and never sees the rest. The paper fine-tunes
the model for both, because one that was not trained makes facts up; here nothing made up is read: a stated fact stands
for the sentences of the passages in which it is found, word for word or by most of its words, and one that is found
nowhere is left out. So what the answer is written from, and cites, is the documents' own text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from turnout.documents import Span
from turnout.engines.prompt import FACTS_TASK
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.router.check import is_refusal
from turnout.router.citations import best_sentence, locate
from turnout.router.strategies.iterative import RagIterative, is_late
from turnout.sentences import units
from turnout.types import Budget, Context, Part, Question

FACT_TOKENS = 128
"""Most tokens of the facts."""

NO_FACT = "no fact that the reader stated stands in the passages; they were read whole"

_MARKS = re.compile(r"^[\s*>•\"“”«»'\u2018\u2019-]*(?:\(?\d{1,3}[.)]\s+)?[\s\"“”«»'\u2018\u2019]*")


@dataclass(frozen=True, slots=True)
class Fact:
    """Where a stated fact stands: characters [start, end) of the part with an index; `exact` where it is a quote."""

    part: int
    start: int
    end: int
    exact: bool


class RagFacts(RagIterative):
    """As `rag:iterative`, with a call more: the prompt of the answer holds the facts instead of the passages.

    Where there is no room or no time for that call, where a summary is asked for, or where no fact is found, it is
    `rag:iterative`.
    """

    name = "rag:facts"

    def _calls(self, whole: bool) -> list[int]:
        return [FACT_TOKENS, *super()._calls(whole)]

    def _later(self, question: Question) -> int:
        """Of the facts, and of an answer for which none are found."""
        return 2 * self._answer_tokens(question)

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """The facts' sentences, in document order. What became of the facts is a note of the answer.

        Raises:
            Cancelled: the watch said so while something was written.
        """
        watch, begin = watch or Watch(), time.monotonic()
        context, left = self._gathered(question, corpus, budget, begin, watch)
        asking = Context(context.parts, context.question, context.history, FACTS_TASK)
        if not context.parts or question.task == "summarisation" or is_late(begin, budget):
            return context
        if not self._is_room(asking, FACT_TOKENS, self._answer_tokens(question), left):
            return context
        written, _ = self._written(asking, FACT_TOKENS, watch)
        facts = stated(written)
        found = [fact for fact in (placed(each, context.parts) for each in facts) if fact is not None]
        if not found:
            watch.notes.append(NO_FACT)
            return context
        exact = sum(fact.exact for fact in found)
        watch.notes.append(f"read from {len(found)} of {len(facts)} stated facts, {exact} of them word for word")
        return Context(tuple(sentences(found, context.parts)), context.question, context.history, context.task)


def stated(written: str) -> list[str]:
    """The sentences that a reader wrote, each once, without list marks and quotation marks; none of a refusal."""
    if is_refusal(written):
        return []
    lines = (_MARKS.sub("", line).rstrip(" \"“”«»'*") for line in written.splitlines())
    return list(dict.fromkeys(line[start:end] for line in lines for start, end in units(line)))


def placed(fact: str, parts: Sequence[Part]) -> Fact | None:
    """Where a fact stands, as a quote or else by most of its words."""
    for number, part in enumerate(parts):
        if found := locate(fact, part.text):
            return Fact(number, found[1], found[2], True)
    if near := best_sentence(fact, "", parts):
        return Fact(next(number for number, part in enumerate(parts) if part is near[0]), near[1], near[2], False)
    return None


def sentences(facts: Iterable[Fact], parts: Sequence[Part]) -> Iterator[Part]:
    """The whole sentences that facts stand in, in the order of the parts; those that follow each other are one."""
    wanted = list(facts)
    for number, part in enumerate(parts):
        own = [fact for fact in wanted if fact.part == number]
        run: tuple[int, int] | None = None
        for start, end in units(part.text):
            if any(fact.start < end and start < fact.end for fact in own):
                run = (run[0] if run else start, end)
            elif run:
                yield _of(part, *run)
                run = None
        if run:
            yield _of(part, *run)


def _of(part: Part, start: int, end: int) -> Part:
    span = Span(part.span.document_id, part.span.start + start, part.span.start + end)
    return Part(part.text[start:end], span, part.title)

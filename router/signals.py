"""What the router knows before it decides. Nothing here needs a model call or an embedding search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turnout.contracts import Engine, Remembers
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router.questions import new_tokens
from turnout.types import Context, Question

SURELY_OVER = 1.1
"""Share of the window from which the sum of the parts' tokens decides; below, the whole prompt is counted exactly.
Tokens of a text can differ by a few from the sum over its pieces."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Figures in the reader's tokens: `overhead_tokens` is the prompt without any document text, `full_tokens` the
    prompt with all of it, `resident_tokens` what of that need not be read again."""

    task: str
    question_tokens: int
    overhead_tokens: int
    document_tokens: int
    full_tokens: int
    documents: int
    segments: int
    window: int
    max_new_tokens: int
    expected_new_tokens: int
    parameters: int | None
    counts_exact: bool
    free_memory_bytes: int | None
    resident_tokens: int = 0

    @property
    def fill(self) -> float:
        """The share of the window that the documents take; over 1 they don't fit."""
        return self.full_tokens / self.window

    def record(self) -> Mapping[str, Any]:
        """For the ledger: what the decision was made from."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def gather(
    question: Question,
    corpus: Corpus,
    engine: Engine,
    document_tokens: int,
    free_memory_bytes: int | None,
    namespace: str | None = None,
) -> Signals:
    """Collects the signals of one question over one corpus."""
    most, expected = new_tokens(question)
    overhead = engine.count(Context((), question.text, question.history, question.task))
    full = overhead + document_tokens
    resident = 0
    if full < SURELY_OVER * engine.model.window:
        context = Context(whole(corpus), question.text, question.history, question.task)
        full = engine.count(context)
        resident = engine.resident(context, namespace) if isinstance(engine, Remembers) else 0
    return Signals(
        task=question.task,
        question_tokens=engine.count_text(question.text),
        overhead_tokens=overhead,
        document_tokens=document_tokens,
        full_tokens=full,
        documents=len(corpus.documents),
        segments=len(corpus.segments),
        window=engine.model.window,
        max_new_tokens=most,
        expected_new_tokens=expected,
        parameters=engine.model.parameters,
        counts_exact=engine.count_is_exact,
        free_memory_bytes=free_memory_bytes,
        resident_tokens=resident,
    )

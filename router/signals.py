"""What the router knows before it decides. Nothing here needs a model call or an embedding search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from turnout.contracts import Engine, Expects, ReadsInPieces, Remembers, TellsLoad
from turnout.documents import Document
from turnout.engines.in_flight import Load
from turnout.retrieval.convert.formats import kind_of
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.retrieval.search_signals import SearchSignals
from turnout.router.kinds import KINDS, shares
from turnout.router.options import listed
from turnout.router.prices import UNPRICED, Pricing
from turnout.router.questions import new_tokens
from turnout.types import Context, Question

_DIGITS = re.compile(r"\d")

SURELY_OVER = 1.1
"""Share of the window from which the sum of the parts' tokens decides; below, the whole prompt is counted exactly.
Tokens of a text can differ by a few from the sum over its pieces."""


FROM_A_PIECE = 12
"""Tokens of an answer from a reader that reads in pieces and answers in a few words: half of those to questions for
facts in benchmarks/results/smollm2-reader1-pieces-dev300 have 11 or fewer."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of one question over its documents.

    Attributes:
        overhead_tokens: of the prompt without any document text, in the reader's tokens as all figures.
        full_tokens: of the prompt with all of it.
        resident_tokens: what of that need not be read again; expected, where the engine can't know.
        surely_resident_tokens: those of them that are there in nine of ten cases; None for all of them.
        kinds: share of each of `turnout.router.kinds.KINDS` by the wording; empty where it is not known.
        options: the question lists the answers to choose from.
        digits: share of the documents' characters, read at their beginnings.
        code: share of the documents that are source code, by their names.
        effective_window: tokens up to which the model was measured to use text of this kind of question well; None
            where no fall was found or nothing was measured.
        search: of the documents; None before a search.
        pricing: of the model's tokens.
        waited_s: seconds that the question has waited for its turn; they are over.
        load: what the engine still has to do for others; None where it does not say.
        wait_s: seconds, by `load`, before the engine begins with this question: 10th, 50th and 90th percentile.
        soft_missing: tokens of the documents whose soft tokens have to be made first; None where that is not known.
        kv_missing: the same of keys and values of segments.
        piece_tokens: of a prompt, where the reader reads long texts in pieces, each alone; None where it reads whole.
        agreement: how often the whole text agreed with what its passages foretold, in earlier answers of `rapid` over
            these documents (`turnout.router.agreement`); None where there were too few.
        keeps: the engine keeps what it reads, so that a later question finds it again.
        expected_questions: over the same documents, this one included (`turnout.router.series`).
        asked_lately: over the same documents, as the ledger has it.
        from_lately: what is expected follows from that, and nobody said it.
        left_s: seconds that all expected questions may take together; None where there is no such limit.
    """

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
    surely_resident_tokens: int | None = None
    kinds: tuple[float, ...] = ()
    options: bool = False
    digits: float = 0.0
    code: float = 0.0
    effective_window: int | None = None
    search: SearchSignals | None = None
    pricing: Pricing = UNPRICED
    waited_s: float = 0.0
    load: Load | None = None
    wait_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    soft_missing: int | None = None
    kv_missing: int | None = None
    agreement: float | None = None
    piece_tokens: int | None = None
    keeps: bool = False
    expected_questions: int = 1
    asked_lately: int = 0
    from_lately: bool = False
    left_s: float | None = None

    @property
    def fill(self) -> float:
        """The share of the window that the documents take; over 1 they don't fit."""
        return self.full_tokens / self.window

    def record(self) -> Mapping[str, Any]:
        """For the ledger: what the decision was made from."""
        return asdict(self) | {"pricing": self.pricing.record()}

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Signals:
        """What `record` wrote, perhaps among other things; figures that an earlier version lacked are unknown."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        for name, made in (("search", SearchSignals), ("load", Load), ("pricing", Pricing)):
            if known.get(name) is not None:
                known[name] = made(**known[name])
        for name in ("kinds", "wait_s"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)

    def searched(self, found: SearchSignals) -> Signals:
        """These signals with those of a search."""
        return replace(self, search=found)


def gather(
    question: Question,
    corpus: Corpus,
    engine: Engine,
    document_tokens: int,
    free_memory_bytes: int | None,
    namespace: str | None = None,
    windows: Mapping[str, int | None] = MappingProxyType({}),
    pricing: Pricing = UNPRICED,
) -> Signals:
    """Collects the signals of one question over one corpus, without a search.

    Args:
        windows: `ModelProfile.windows`.
    """
    most, expected = new_tokens(question)
    without_text = Context((), question.text, question.history, question.task)
    overhead = engine.count(without_text)
    piece = engine.piece_tokens(without_text) if isinstance(engine, ReadsInPieces) else None
    if piece is not None:
        expected = min(expected, FROM_A_PIECE)
    full = overhead + document_tokens
    resident, sure = 0, None
    if full < SURELY_OVER * engine.model.window:
        context = Context(whole(corpus), question.text, question.history, question.task)
        full = engine.count(context)
        resident = engine.resident(context, namespace) if isinstance(engine, Remembers) else 0
        sure = engine.surely_resident(context, namespace) if isinstance(engine, Expects) else None
    kinds = shares(question.standalone)
    likeliest = KINDS[kinds.index(max(kinds))]
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
        surely_resident_tokens=sure,
        kinds=kinds,
        options=bool(listed(question.text)),
        digits=_digits(corpus),
        code=sum(map(is_code, corpus.documents)) / max(len(corpus.documents), 1),
        effective_window=windows.get(_MEASURED_AS.get(likeliest, "")),
        pricing=pricing,
        load=engine.in_flight() if isinstance(engine, TellsLoad) else None,
        piece_tokens=None if piece is None else piece + overhead,
        keeps=isinstance(engine, Remembers) and "prefix_cache" in engine.capabilities,
    )


def is_code(document: Document) -> bool:
    """Whether it is source code: by how it was read, or by its name where it was given as text."""
    return document.kind == "code" or kind_of(document.title) == "code"


# The kind of task of `turnout calibrate window` that comes nearest.
_MEASURED_AS = {
    "location": "needle",
    "unanswerable": "needle",
    "reasoning": "multi",
    "comparison": "comparison",
    "summarisation": "aggregation",
}
_SAMPLE = 20_000
_SAMPLED_DOCUMENTS = 5


def _digits(corpus: Corpus) -> float:
    text = "".join(document.text[:_SAMPLE] for document in corpus.documents[:_SAMPLED_DOCUMENTS])
    return len(_DIGITS.findall(text)) / max(len(text), 1)

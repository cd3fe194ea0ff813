"""How `extract` and its variants say what is kept: by which scorer, over how much text, and what that takes.

The seconds are guesses until the ledger has measured them (`Ledger.corrected`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from turnout.compression.choice import extractive
from turnout.compression.code import CodeCompressor
from turnout.compression.code_gains import LONGEST
from turnout.compression.draft import AROUND_TOKENS, WINDOW_TOKENS, DraftCompressor
from turnout.compression.extractive import Extractive
from turnout.compression.reader_scorer import ByReader
from turnout.compression.selection import THRESHOLD
from turnout.compression.units import BY_RULES, Cuts
from turnout.contracts import Compressor, Engine, RanksTokens, SegmentCache, Surprises, UnitScorer, Weighs

SCAN_TOKENS = 5000
"""Most tokens that are scanned: documents up to this size whole, of larger ones the passages that match best, which is
five times what rag reads."""

READER_SCAN_TOKENS = 2000
"""The same where the reader itself scans, which reads every sentence twice."""

DRAFT_SCAN_TOKENS = 128_000
"""The same where the reader reads each token once, and its window does not matter."""

RATES = {"words": 100_000, "meaning": 4_000, "pruner": 10_000}
RATE = 4_000
"""Tokens a second of scorers on two cores, before they are measured: guesses."""

READER_READS = 2
"""Tokens that the reader reads for one that it scans: it stands in the passage, then in its sentence's question."""

SENTENCE_TOKENS, ASKED_TOKENS = 25, 40
"""Of a sentence, about, and of what is asked of each besides it and the question: guesses."""

CODE_READS = 3
"""As READER_READS, of code: in the ranking, in the lines of functions that are cut, in their blocks."""

BLOCK_TOKENS = 50
"""Of a block of code, about, after each of which the question is read: a guess."""

READ_AT_ONCE = 1000
"""Tokens of a passage with the question for a sentence, about, which the reader reads at once."""

NO_INSIDE = "needs a model that this machine runs"


@dataclass(frozen=True, slots=True)
class Scan:
    """One way to choose what is kept.

    Attributes:
        name: of the strategy.
        compressor: None where the engine can't do it; `why_not` then says so.
        threshold: score from which a sentence is kept.
        tokens: most that are scanned.
        token_s: seconds that a scorer takes for a token.
        reads: tokens that the reader itself reads to scan so many, given those of the question.
        read_at_once: tokens that the engine reads at once for it.
        of_code: it works on source code.
        of_documents: it works on whole documents; else on segments.
        warm: loads what scanning needs.
    """

    name: str
    compressor: Compressor | None
    threshold: float = THRESHOLD
    tokens: int = SCAN_TOKENS
    token_s: float = 0.0
    reads: Callable[[int, int], int] = lambda scanned, question: 0
    why_not: str = ""
    read_at_once: int = 0
    of_code: bool = False
    of_documents: bool = False
    warm: Callable[[], None] = lambda: None


def by_scorer(
    count: Callable[[str], int], scorer: UnitScorer, cache: SegmentCache | None, cuts: Cuts = BY_RULES
) -> Scan:
    """`extract`: a model of its own, or none, judges sentences.

    Args:
        count: tokens of a text, in the reader's tokenizer.
        cuts: what cuts texts for the scorer.
    """

    def warm() -> None:
        next(scorer.score("warm", ["warm"]))

    return Scan(
        "extract",
        extractive(scorer, count, cache, cuts),
        scorer.threshold,
        token_s=1 / RATES.get(scorer.name, RATE),
        warm=warm,
    )


def by_reader(engine: Engine, cache: SegmentCache | None, cuts: Cuts = BY_RULES) -> Scan:
    """`extract:exit`: the reader judges each sentence in its passage."""
    compressor = None
    if isinstance(engine, Weighs):
        compressor = Extractive(ByReader(engine, cuts), engine.count_text, cache, cuts)
    return Scan(
        "extract:exit",
        compressor,
        ByReader.threshold,
        READER_SCAN_TOKENS,
        reads=lambda scanned, question: (
            READER_READS * scanned + -(-scanned // SENTENCE_TOKENS) * (question + ASKED_TOKENS)
        ),
        why_not="" if compressor else NO_INSIDE,
        read_at_once=READ_AT_ONCE,
    )


def by_functions(engine: Engine, cache: SegmentCache | None) -> Scan:
    """`extract:code`: functions and lines by what they tell of the question."""
    compressor = CodeCompressor(engine, engine.count_text, cache=cache) if isinstance(engine, Surprises) else None
    return Scan(
        "extract:code",
        compressor,
        reads=lambda scanned, question: CODE_READS * scanned + -(-scanned // BLOCK_TOKENS) * question,
        why_not="" if compressor else NO_INSIDE,
        read_at_once=LONGEST,
        of_code=True,
        of_documents=True,
    )


def by_draft(engine: Engine, cache: SegmentCache | None) -> Scan:
    """`extract:draft`: what the reader looks at where it begins to answer."""
    compressor = DraftCompressor(engine, engine.count_text, cache=cache) if isinstance(engine, RanksTokens) else None
    return Scan(
        "extract:draft",
        compressor,
        tokens=DRAFT_SCAN_TOKENS,
        reads=lambda scanned, question: scanned + -(-scanned // WINDOW_TOKENS) * (question + ASKED_TOKENS),
        why_not="" if compressor else NO_INSIDE,
        read_at_once=WINDOW_TOKENS + AROUND_TOKENS,
        of_documents=True,
    )

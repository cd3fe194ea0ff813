"""How `extract` and its variants say what is kept: by which scorer, over how much text, and what that takes.

The seconds are guesses until the ledger has measured them (`Ledger.corrected`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from turnout.compression.choice import extractive
from turnout.compression.code import CodeCompressor
from turnout.compression.code_gains import LONGEST
from turnout.compression.extractive import Extractive
from turnout.compression.reader_scorer import ByReader
from turnout.compression.selection import THRESHOLD
from turnout.contracts import Compressor, Engine, SegmentCache, Surprises, UnitScorer, Weighs
from turnout.router.profile import ModelProfile

SCAN_TOKENS = 5000
"""Most tokens that are scanned: documents up to this size whole, of larger ones the passages that match best, which is
five times what rag reads."""

READER_SCAN_TOKENS = 2000
"""The same where the reader itself scans, which reads every sentence twice."""

RATES = {"words": 100_000, "meaning": 4_000, "pruner": 10_000}
RATE = 4_000
"""Tokens a second of scorers on two cores, before they are measured: guesses."""

READER_READS = 4
"""Tokens that the reader reads for one that it scans: it stands in the passage, then in its sentence's question."""

CODE_READS = 3
"""As READER_READS, of code: in the ranking, in the lines of functions that are cut, in their blocks."""

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
        seconds: of scanning so many tokens.
        read_at_once: tokens that the engine reads at once for it.
        of_code: it works on source code, by files; else on text, by segments.
        warm: loads what scanning needs.
    """

    name: str
    compressor: Compressor | None
    seconds: Callable[[int, ModelProfile], float]
    threshold: float = THRESHOLD
    tokens: int = SCAN_TOKENS
    why_not: str = ""
    read_at_once: int = 0
    of_code: bool = False
    warm: Callable[[], None] = lambda: None


def by_scorer(count: Callable[[str], int], scorer: UnitScorer, cache: SegmentCache | None) -> Scan:
    """`extract`: a model of its own, or none, judges sentences.

    Args:
        count: tokens of a text, in the reader's tokenizer.
    """
    rate = RATES.get(scorer.name, RATE)

    def warm() -> None:
        next(scorer.score("warm", ["warm"]))

    return Scan(
        "extract",
        extractive(scorer, count, cache),
        lambda tokens, profile: tokens / rate,
        scorer.threshold,
        warm=warm,
    )


def by_reader(engine: Engine, cache: SegmentCache | None) -> Scan:
    """`extract:exit`: the reader judges each sentence in its passage."""
    compressor = None
    if isinstance(engine, Weighs):
        compressor = Extractive(ByReader(engine), engine.count_text, cache)
    return Scan(
        "extract:exit",
        compressor,
        lambda tokens, profile: READER_READS * tokens * profile.per_token_s,
        ByReader.threshold,
        READER_SCAN_TOKENS,
        "" if compressor else NO_INSIDE,
        READ_AT_ONCE,
    )


def by_functions(engine: Engine, cache: SegmentCache | None) -> Scan:
    """`extract:code`: functions and lines by what they tell of the question."""
    compressor = CodeCompressor(engine, engine.count_text, cache=cache) if isinstance(engine, Surprises) else None
    return Scan(
        "extract:code",
        compressor,
        lambda tokens, profile: CODE_READS * tokens * profile.per_token_s,
        why_not="" if compressor else NO_INSIDE,
        read_at_once=LONGEST,
        of_code=True,
    )

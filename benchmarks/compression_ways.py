"""The ways to keep something of documents that compression_curves.py compares: turnout's and plain baselines."""

from __future__ import annotations

import bisect
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmlingua2 import LLMLingua2

from turnout.compression.code import CodeCompressor
from turnout.compression.code_blocks import blocks_of
from turnout.compression.draft import DraftCompressor
from turnout.compression.extractive import Extractive
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.pruner import Pruner
from turnout.compression.reader_scorer import ByReader
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.compression.selection import Target
from turnout.contracts import Compressor, Engine, RanksTokens, Surprises, UnitScorer, Weighs
from turnout.documents import Span
from turnout.parts import Parts
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.lexical import LexicalIndex
from turnout.retrieval.merge import whole
from turnout.router.cost import candidate
from turnout.router.evaluation.arms import ends
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.router.strategies.extract import KEPT_TOKENS
from turnout.types import Budget, Candidate, Context, Part, Question

BASELINES = ("truncation", "bm25", "embedding", "llmlingua2", "files", "functions")
"""What the others are compared with where both keep as much."""

OF_CODE = ("code", "code-whole", "files", "functions")
"""Ways that are for source code, and taken only by name."""

_FILE = re.compile(r"^# ===== file: (\S+) =====$", re.MULTILINE)
"""How SWE-QA's documents begin each file of a repository."""


@dataclass(frozen=True, slots=True)
class Most:
    """How much is kept: `label` is tokens, "500", or a share of the documents' tokens, "40%"."""

    label: str

    def tokens(self, total: int) -> int:
        share = self.label.endswith("%")
        return int(total * float(self.label[:-1]) / 100) if share else int(self.label)


@dataclass(frozen=True, slots=True)
class Kept:
    """Parts, and the seconds and tokens of a scan that another row made for this one."""

    parts: Sequence[Part]
    spared_s: float = 0.0
    spared_tokens: int = 0


Keep = Callable[[str, Corpus, Watch], Kept]


class Way:
    """A strategy that keeps parts of documents by a rule. It notes what it kept, and the seconds that took.

    Attributes:
        made_with: fingerprint of what chooses, so that rows of one model's are not taken for another's.
    """

    def __init__(self, name: str, engine: Engine, keep: Keep, *, made_with: str = "", quotable: bool = True) -> None:
        self.name = name
        self.made_with = made_with
        self.quotable = quotable
        self._engine = engine
        self._keep = keep
        self.noted: dict[str, Any] = {}

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        tokens = signals.full_tokens if self.name == "none" else signals.overhead_tokens
        return candidate(
            self.name, estimate("full", signals, profile), tokens, signals, profile, self._engine.memory_bytes
        )

    def warm(self, corpus: Corpus) -> None:
        """Nothing: what a compressor loads is loaded before the first question."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        started = time.perf_counter()
        kept = self._keep(question.standalone, corpus, watch or Watch())
        self.noted = {
            "keep_s": time.perf_counter() - started,
            "spared_s": kept.spared_s,
            "spared_tokens": kept.spared_tokens,
            "kept_tokens": sum(self._engine.count_text(part.text) for part in kept.parts),
        }
        return Context(tuple(kept.parts), question.text, question.history, question.task)


def ways(
    parts: Parts, kept: Sequence[Most], thresholds: Sequence[float], names: Sequence[str], llmlingua: Path | None
) -> Iterator[Way]:
    """Those of `names`; without any, all for text that can be had here."""
    engine = parts.engine

    def is_wanted(name: str) -> bool:
        return name in names if names else name not in OF_CODE

    if is_wanted("none"):
        yield Way("none", engine, lambda question, corpus, watch: Kept(whole(corpus)))
    if is_wanted("truncation"):
        for most in kept:
            yield Way(f"truncation@{most.label}", engine, _truncated(engine, most))
    for name, scorer in _scorers(parts).items():
        if not is_wanted(name):
            continue
        next(scorer.score("warm", ["warm"]))  # so that no row pays for loading it
        # By words a score is one among all that are scored together.
        cache = None if isinstance(scorer, ByWords) else MemoryCache()
        scan = _Scan(Extractive(scorer, engine.count_text, cache), engine, _by_segments)
        for most in kept:
            yield Way(f"{name}@{most.label}", engine, scan.keeping(most), made_with=scorer.fingerprint)
        for threshold in thresholds:
            over = scan.over(Target(threshold, KEPT_TOKENS))
            yield Way(f"{name}>{threshold:g}", engine, over, made_with=scorer.fingerprint)
    for name, compressor in _compressors(parts, llmlingua).items():
        if is_wanted(name):
            scan = _Scan(compressor, engine, _by_files if name in OF_CODE else whole)
            for most in kept:
                yield Way(f"{name}@{most.label}", engine, scan.keeping(most), quotable=compressor.quotable)


def _scorers(parts: Parts) -> dict[str, UnitScorer]:
    """Those that can't be had here are missing."""
    engine = parts.engine
    found: dict[str, UnitScorer] = {"bm25": ByWords()}
    if parts.embedder is not None:
        found["embedding"] = ByMeaning(parts.embedder)
    if isinstance(parts.scorer, Pruner):
        found["pruner"] = parts.scorer
    if isinstance(engine, Weighs):
        found["exit"] = ByReader(engine)
    return found


def _compressors(parts: Parts, llmlingua: Path | None) -> dict[str, Compressor]:
    engine = parts.engine
    found: dict[str, Compressor] = {
        "files": ByFiles(engine.count_text),
        "functions": ByFiles(engine.count_text, functions=True),
    }
    if llmlingua is not None:
        found["llmlingua2"] = LLMLingua2(llmlingua, engine.count_text)
    if isinstance(engine, RanksTokens):
        found["draft"] = DraftCompressor(engine, engine.count_text)
    if isinstance(engine, Surprises):
        found["code"] = CodeCompressor(engine, engine.count_text)
        found["code-whole"] = CodeCompressor(engine, engine.count_text, fine=False)
    return found


class ByFiles:
    """A baseline for code: whole files, or whole functions and what stands between them, by BM25, while there is
    room."""

    name = "files"
    quotable = True

    def __init__(self, count: Callable[[str], int], *, functions: bool = False) -> None:
        self._count = count
        self._functions = functions

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        pieces = [piece for part in parts for piece in self._pieces(part)]
        scores = LexicalIndex([piece.text for piece in pieces]).scores(question) if pieces else []
        left = sum(self._count(piece.text) for piece in pieces) if target.max_tokens is None else target.max_tokens
        kept: list[int] = []
        for at in sorted(range(len(pieces)), key=lambda at: (-scores[at], at)):
            tokens = self._count(pieces[at].text)
            if tokens <= left:
                kept.append(at)
                left -= tokens
        return tuple(pieces[at] for at in sorted(kept))

    def _pieces(self, part: Part) -> Iterator[Part]:
        if not self._functions:
            yield part
            return
        for block in blocks_of(part.text, part.title):
            yield _piece(part, block.start, block.end, part.title)


class _Scan:
    """A compressor whose scans are made once, and what the first of each question took."""

    def __init__(self, compressor: Compressor, engine: Engine, given: Callable[[Corpus], Sequence[Part]]) -> None:
        self._compressor, self._engine, self._given = compressor, engine, given
        self._first: dict[tuple[str, ...], tuple[float, int]] = {}

    def keeping(self, most: Most) -> Keep:
        fill = isinstance(self._compressor, Extractive)
        return lambda question, corpus, watch: self._kept(
            question, corpus, Target(0.0, _tokens(most, corpus, self._engine), fill=fill), watch
        )

    def over(self, target: Target) -> Keep:
        return lambda question, corpus, watch: self._kept(question, corpus, target, watch)

    def _kept(self, question: str, corpus: Corpus, target: Target, watch: Watch) -> Kept:
        given = self._given(corpus)
        started = time.perf_counter()
        parts = self._compressor.compress(question, given, target, watch)
        took = time.perf_counter() - started
        key = (question, *(document.id for document in corpus.documents))
        first_s, tokens = self._first.setdefault(key, (took, watch.read_tokens))
        return Kept(parts, max(first_s - took, 0.0), max(tokens - watch.read_tokens, 0))


def _by_segments(corpus: Corpus) -> list[Part]:
    spans = [segment.span for segment in corpus.segments]
    return [Part(corpus.text(span), span, corpus.document(span.document_id).title) for span in spans]


def _by_files(corpus: Corpus) -> list[Part]:
    """The files of repositories, with their paths as titles; a document that has none is one."""
    found: list[Part] = []
    for part in whole(corpus):
        heads = list(_FILE.finditer(part.text))
        starts = [head.start() for head in heads]
        if not heads:
            found.append(part)
        elif starts[0]:
            found.append(_piece(part, 0, starts[0], part.title))
        for head, (start, end) in zip(heads, pairwise([*starts, len(part.text)]), strict=True):
            found.append(_piece(part, start, end, head[1]))
    return found


def _piece(part: Part, start: int, end: int, title: str) -> Part:
    begin = part.span.start
    return Part(part.text[start:end], Span(part.span.document_id, begin + start, begin + end), title)


def _tokens(most: Most, corpus: Corpus, engine: Engine) -> int:
    total = sum(engine.count_text(part.text) for part in whole(corpus)) if most.label.endswith("%") else 0
    return most.tokens(total)


def _truncated(engine: Engine, most: Most) -> Keep:
    def keep(question: str, corpus: Corpus, watch: Watch) -> Kept:
        parts = whole(corpus)
        allowed = _tokens(most, corpus, engine)
        lengths = range(sum(len(part.text) for part in parts) + 1)
        over = bisect.bisect_right(
            lengths, False, key=lambda n: sum(engine.count_text(part.text) for part in ends(parts, n)) > allowed
        )
        return Kept(ends(parts, over - 1))

    return keep

"""The ways to use documents: one file each, one contract (`turnout.contracts.Strategy`), one line here.

To add one: write `router/strategies/<name>.py`, add its line to STRATEGIES; the cross-product tests take it in by
themselves. See CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from turnout.compression.memory_cache import MemoryCache
from turnout.compression.scorers import ByWords
from turnout.compression.units import BY_RULES, Cuts
from turnout.contracts import Engine, Retriever, SegmentCache, Strategy, UnitScorer
from turnout.retrieval.ldar import LdarRetriever
from turnout.router.strategies.attention import RagByAttention
from turnout.router.strategies.chunkfree import RagChunkFree
from turnout.router.strategies.extract import Extract
from turnout.router.strategies.facts import RagFacts
from turnout.router.strategies.full import Full
from turnout.router.strategies.iterative import RagIterative
from turnout.router.strategies.ldar import RagLdar
from turnout.router.strategies.rag import Rag
from turnout.router.strategies.rapid import STEERED, Rapid
from turnout.router.strategies.scans import by_draft, by_functions, by_reader, by_scorer
from turnout.router.strategies.soft import Soft
from turnout.router.strategies.soft_ape import SoftApe

Tier = Literal["stable", "preview", "research"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What `turnout strategies` shows. One that is not stable is taken where it is asked for by name, or where it was
    measured with the model (`turnout calibrate quality`); a variant, "name:variant", is not even shown otherwise."""

    name: str
    tier: Tier
    what: str
    evidence: str


STRATEGIES: tuple[Entry, ...] = (
    Entry("full", "stable", "give the model every document whole", "LaRA (arXiv 2502.09977)"),
    Entry(
        "rag", "stable", "give it the passages that match, in document order", "LaRA; order: OP-RAG (arXiv 2409.01666)"
    ),
    Entry(
        "rag:attention",
        "preview",
        "as rag; the model itself reads everything once, and what it looks at are the passages",
        "InfiniRetri (arXiv 2502.12962); not measured here yet",
    ),
    Entry(
        "rag:chunkfree",
        "preview",
        "as rag; the model itself points at the sentences that it would answer with",
        "CFIC (arXiv 2402.09760), whose model was trained for it; not measured here yet",
    ),
    Entry(
        "rag:ldar",
        "preview",
        "as rag; a small policy, trained for the model, says from where to where in the ranking it reads",
        "LDAR (arXiv 2509.21865); no weights come with the package, and it is not measured here yet",
    ),
    Entry(
        "rag:iterative",
        "preview",
        "as rag; the model asks for what it still misses, up to three times",
        "IterDRAG (arXiv 2410.04343); not measured here yet",
    ),
    Entry(
        "rag:facts",
        "preview",
        "as rag:iterative; the model then states the facts, and answers from their sentences alone",
        "ALR2 (arXiv 2410.03227), whose model was trained for it; not measured here yet",
    ),
    Entry(
        "extract",
        "preview",
        "give it the sentences that match, of whole documents or of many passages",
        "Provence (arXiv 2501.16214), RECOMP (arXiv 2310.04408); not measured here yet",
    ),
    Entry(
        "extract:exit",
        "preview",
        "as extract; the model itself judges each sentence",
        "EXIT (arXiv 2412.12559); not measured here yet",
    ),
    Entry(
        "extract:code",
        "preview",
        "give it the functions and lines of source code that help most",
        "LongCodeZip (arXiv 2510.00446); not measured here yet",
    ),
    Entry(
        "extract:draft",
        "preview",
        "give it the pieces of very long documents that it looks at where it begins to answer",
        "SpecPC (arXiv 2506.08373); not measured here yet",
    ),
    Entry(
        "soft",
        "preview",
        "give it every document whole, as soft tokens at half the positions, made once for all questions",
        "CompLLM (arXiv 2509.19228), whose weights were trained for it; not measured here yet",
    ),
    Entry(
        "soft:ape",
        "preview",
        "give it every document whole, as keys and values of segments that were read each by itself, once for all",
        "APE (arXiv 2502.05431); not measured here yet",
    ),
    Entry(
        "rapid",
        "preview",
        "as full; long answers are drafted by a reader of the passages that match, which changes nothing else",
        "RAPID (arXiv 2502.20330), speculative sampling (arXiv 2302.01318); not measured here yet",
    ),
    Entry(
        "rapid:steered",
        "preview",
        "as rapid, but the drafter has a say in every token: an ensemble of full and rag",
        "RAPID (arXiv 2502.20330), its law made exact; not measured here yet",
    ),
)

UNPROVEN = frozenset(entry.name for entry in STRATEGIES if entry.tier != "stable")
"""Names of those that are no default."""


def build(
    engine: Engine,
    retriever: Retriever,
    scorer: UnitScorer | None = None,
    cache: SegmentCache | None = None,
    *,
    segments: SegmentCache | None = None,
    passage_tokens: int | None = None,
    ldar: LdarRetriever | None = None,
    cuts: Cuts = BY_RULES,
) -> Sequence[Strategy]:
    """All strategies, in the order of the table; those that this engine can't run exclude themselves.

    Args:
        scorer: judges sentences for `extract`; by words by default.
        cache: keeps what was said of sentences; in memory by default.
        segments: keeps what is made of segments whatever is asked; in memory by default.
        passage_tokens: most of the passages that `rag` and its variants read.
        ldar: finds passages for `rag:ldar`, with a policy that was trained for this engine's model.
        cuts: what cuts texts into sentences for `extract`; the scorer is made with it.
    """
    kept = MemoryCache() if cache is None else cache
    made = MemoryCache() if segments is None else segments
    return (
        Full(engine),
        Rag(engine, retriever, passage_tokens),
        RagByAttention(engine, retriever, passage_tokens),
        RagChunkFree(engine, retriever, passage_tokens),
        RagLdar(engine, retriever, ldar, passage_tokens),
        RagIterative(engine, retriever, passage_tokens=passage_tokens),
        RagFacts(engine, retriever, passage_tokens=passage_tokens),
        Extract(engine, retriever, by_scorer(engine.count_text, scorer or ByWords(cuts), kept, cuts)),
        Extract(engine, retriever, by_reader(engine, kept, cuts)),
        Extract(engine, retriever, by_functions(engine, kept)),
        Extract(engine, retriever, by_draft(engine, kept)),
        Soft(engine, made),
        SoftApe(engine, made),
        Rapid(engine, retriever),
        Rapid(engine, retriever, STEERED),
    )

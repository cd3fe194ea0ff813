"""One question, and what carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from turnout.asking import Decoding
from turnout.contracts import Engine, Looks, Strategy
from turnout.progress import Progress, silent
from turnout.retrieval.corpus import Corpus
from turnout.router.ledger import Ledger
from turnout.router.prices import UNPRICED, Pricing
from turnout.router.profile import ModelProfile
from turnout.types import Budget, Question


@dataclass(frozen=True, slots=True)
class Request:
    """One question with what it is asked over and within; `collection` is the one that was named, `steady` shows no
    text that may have to be retracted, and `waited_s` are seconds that it waited for its turn."""

    question: Question
    corpus: Corpus
    document_tokens: int
    budget: Budget
    strategy: str | None = None
    cache_namespace: str | None = None
    collection: str = ""
    decoding: Decoding = field(default_factory=Decoding)
    steady: bool = False
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Machinery:
    """What carries it out."""

    engine: Engine
    strategies: Sequence[Strategy]
    profile: ModelProfile
    ledger: Ledger
    search: Looks | None = None
    pricing: Pricing = UNPRICED
    progress: Progress = silent

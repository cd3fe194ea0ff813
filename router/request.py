"""One question, and what carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from turnout.asking import Decoding
from turnout.config import CITE_WORDS, Escalate
from turnout.contracts import Engine, Looks, Strategy
from turnout.progress import Progress, silent
from turnout.retrieval.corpus import Corpus
from turnout.router.ledger import Ledger
from turnout.router.prices import UNPRICED, Pricing
from turnout.router.profile import ModelProfile
from turnout.router.support_model import SupportModel
from turnout.types import Budget, Question


@dataclass(frozen=True, slots=True)
class Request:
    """One question with what it is asked over and within; `collection` is the one that was named.

    `steady` shows no text that may have to be retracted, and `waited_s` are seconds that it waited for its turn.
    `escalate` and `max_regret` say when another strategy is asked after the first (`turnout.router.escalation`).
    `expected_questions` are to come over the same documents, this one included, as the caller says, and may take
    `left_s` seconds together. In `shadow` mode that strategy is run, whatever the router chooses on paper.
    """

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
    escalate: Escalate = "off"
    max_regret: float | None = None
    expected_questions: int | None = None
    left_s: float | None = None
    shadow: str | None = None


@dataclass(frozen=True, slots=True)
class Machinery:
    """What carries it out; `cite` is what finds a sentence where an answer has no quote. What is `lasting` is there for
    the next question too: what a local engine has read in this process is not, where the process ends with the
    answer."""

    engine: Engine
    strategies: Sequence[Strategy]
    profile: ModelProfile
    ledger: Ledger
    search: Looks | None = None
    pricing: Pricing = UNPRICED
    progress: Progress = silent
    cite: str = CITE_WORDS
    support: SupportModel | None = None
    lasting: bool = True

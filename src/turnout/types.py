"""The words of the project: what a question, a decision and an answer are (documents: `turnout.documents`). Standard
library only.

Everything here is a frozen value. Lengths named `*_tokens` are in the reader's own tokens unless the name says
`estimate`; times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from turnout.documents import DocumentInfo, Span

Optimize = Literal["quality", "balanced", "latency", "cost"]
FinishReason = Literal["stop", "length", "timeout", "cancelled"]
"""Why decoding ended: by itself, at `max_tokens`, at `timeout_s` with an answer begun, or given up by the caller."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Of one cache since it was made: `entries` and `bytes` are what it holds now."""

    hits: int
    misses: int
    evicted: int
    entries: int
    bytes: int


# --- what the engine reads -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is "user" or "assistant", and "system" for what the caller wants of every
    answer."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what is known of it before any document is read.

    `standalone` can be understood without the earlier turns and is what retrieval searches for; `task` is the cue that
    picks the prompt's instruction and the quality rule (see router/questions.py). `max_new_tokens` bounds the answer;
    None takes the task's own bound.
    """

    text: str
    standalone: str
    task: str
    history: tuple[Message, ...] = ()
    max_new_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of document text with the span that it stands for."""

    text: str
    span: Span
    title: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine reads: document parts in document order, earlier turns, and the question last.

    `task` is the task cue that picks the prompt's instruction (see router/questions.py).
    """

    parts: tuple[Part, ...]
    question: str
    history: tuple[Message, ...] = ()
    task: str = "location"


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """How to decode. `temperature` 0 is greedy; `stop` strings never appear in the output; where there are `choices`,
    the answer is one of them, from an engine that has the capability "choices".

    `cache_namespace` separates prefix caches: a request re-uses only what requests of the same namespace have read.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    seed: int | None = None
    timeout_s: float | None = None
    cache_namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Engine event: `done` of `total` prompt tokens have been read."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """Engine event: new text, at least one character."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Engine event, always the last: why decoding ended and what it took. `first_token_s` is from acceptance."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    first_token_s: float | None = None
    peak_memory_bytes: int | None = None


EngineEvent = Prefilled | Token | Finished


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model answers. `fingerprint` identifies weights, tokenizer and dtype in every cache key and profile."""

    name: str
    window: int
    fingerprint: str
    revision: str = ""
    adapter: str | None = None
    parameters: int | None = None
    is_demonstration: bool = False

    @property
    def full_name(self) -> str:
        """With its adapter: "smollm2-135m+reader1"."""
        return f"{self.name}+{self.adapter}" if self.adapter else self.name


# --- decision --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Budget:
    """The caller's limits and objective; None means no limit."""

    max_total_s: float | None = None
    max_ttft_s: float | None = None
    max_prompt_tokens: int | None = None
    max_cost: float | None = None
    max_memory_bytes: int | None = None
    optimize: Optimize = "quality"

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        named = {name: getattr(self, name) for name in LIMITS}
        return {name: value for name, value in named.items() if value is not None}


# Each limit of a Budget, with the field of Candidate that it bounds.
LIMITS: Mapping[str, str] = {
    "max_total_s": "total_s",
    "max_ttft_s": "ttft_s",
    "max_prompt_tokens": "prompt_tokens",
    "max_cost": "cost",
    "max_memory_bytes": "memory_bytes",
}


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The limit that a candidate broke. `allowed` and `needed` are None where the obstacle is not a quantity."""

    limit: str
    allowed: float | None
    needed: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy with its estimates. None means unknown, which counts as a risk and never as zero.

    `ttft_s`, `total_s` and `cost` are the middle of what is expected; between their low and their high lie 80%. Of the
    high seconds `late_s` are waiting for others. `scanned_tokens` are read besides the prompt, to choose what is in it.
    `later_s` and `later_cost` are what a later question over the same documents takes, once what the strategy keeps of
    them is there.
    """

    strategy: str
    quality: float | None = None
    quality_low: float | None = None
    quality_high: float | None = None
    ttft_s: float | None = None
    total_s: float | None = None
    prompt_tokens: int | None = None
    memory_bytes: int | None = None
    cost: float | None = None
    chosen: bool = False
    excluded_by: Exclusion | None = None
    reasons: tuple[str, ...] = ()
    ttft_low_s: float | None = None
    ttft_high_s: float | None = None
    total_low_s: float | None = None
    total_high_s: float | None = None
    cost_low: float | None = None
    cost_high: float | None = None
    scanned_tokens: int = 0
    late_s: tuple[float, float] = (0.0, 0.0)
    later_s: float | None = None
    later_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """All candidates and the chosen one: reproducible from this record alone. `on_paper` is what the router would have
    chosen where shadow mode runs another strategy, None everywhere else."""

    id: str
    chosen: str
    policy: str
    candidates: tuple[Candidate, ...]
    budget: Budget
    signals: Mapping[str, Any] = field(default_factory=dict)
    because: tuple[str, ...] = ()
    would_flip: tuple[str, ...] = ()
    on_paper: str | None = None

    def __getitem__(self, strategy: str) -> Candidate:
        for candidate in self.candidates:
            if candidate.strategy == strategy:
                return candidate
        raise KeyError(strategy)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)


# --- answer ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote with its span. `found` says how it stands there; `support` (calibrated) that it bears the claim.

    `origin` is "quoted" where the model gave the quote, "matched" where the sentence was attached afterwards for its
    words, and "attended" where it was for the model's attention.
    `start`, `end`, `page` and `line` are None where `found` is None.
    """

    document: DocumentInfo | None
    quote: str
    found: str | None
    start: int | None = None
    end: int | None = None
    page: int | None = None
    line: int | None = None
    place: str = ""
    support: float | None = None
    origin: Literal["quoted", "matched", "attended"] = "quoted"


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took, as defined in docs/answer.md."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    soft_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: float | None = None
    ttft_s: float | None = None
    total_s: float = 0.0
    load_s: float = 0.0
    index_s: float = 0.0
    peak_memory_bytes: int | None = None
    cost: float | None = None
    acceptance_rate: float | None = None
    attempts: tuple[Mapping[str, Any], ...] = ()
    scanned_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BudgetResult:
    """The limits that were set and whether the measured figures kept them; `broken` names those that were not."""

    limits: Mapping[str, float]
    met: bool
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Text, checked citations, usage and the decision. On abstention `text` holds the refusal sentence.

    `confidence` (calibrated) is the probability that the answer, or the abstention, is right. `notes` say what the
    caller should know besides: cut at the token limit, not recorded in the ledger. `support` is what the text was seen
    to bear of it (`turnout.router.support`).
    """

    id: str
    question: str
    text: str
    abstained: bool
    citations: tuple[Citation, ...]
    usage: Usage
    decision: Decision
    budget: BudgetResult
    model: ModelInfo
    confidence: float | None = None
    nearest: Citation | None = None
    trace: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    support: Mapping[str, Any] = field(default_factory=dict)


# --- stream events that a caller sees --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decided:
    """The choice is made; nothing has been generated yet. `documents` are those that the question is asked over, and
    `read_s` the seconds that reading and indexing them took so far."""

    decision: Decision
    documents: tuple[DocumentInfo, ...] = ()
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The engine has read `done` of `total` prompt tokens."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New answer text."""

    text: str


@dataclass(frozen=True, slots=True)
class Retracted:
    """Text streamed so far was given up: clear it."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete; always the last event."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer ends here because a hard limit is reached; `Done` follows, with what was written until then."""

    limit: str
    allowed: float


StreamEvent = Decided | Reading | TextDelta | Retracted | Cut | Done

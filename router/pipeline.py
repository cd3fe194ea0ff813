"""The whole path of one question, in one function: signals, candidates, decision, context, engine, check, answer."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from turnout.asking import Decoding
from turnout.contracts import AsksInWords, Drafts, Engine, Fragments, Looks, PreparesOnce, Stopper, Strategy
from turnout.engines.prompt import REFUSAL, has_numbers
from turnout.engines.soft.kind import SoftContext
from turnout.errors import Cancelled, EngineError, EngineTimeoutError, StoreError
from turnout.progress import Progress, Watch, silent
from turnout.record import CUT
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.search_signals import SearchSignals
from turnout.router import attempts, citations, policy, waiting
from turnout.router.check import is_answer, is_refusal, is_settled
from turnout.router.clock import Clock
from turnout.router.cost import affordable
from turnout.router.ledger import Ledger
from turnout.router.options import listed
from turnout.router.prices import UNPRICED, Pricing
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals, gather
from turnout.router.strategies.rapid import fell_back
from turnout.router.visible import Visible
from turnout.types import (
    Answer,
    Budget,
    BudgetResult,
    Citation,
    Context,
    Cut,
    Decided,
    Decision,
    Done,
    Finished,
    GenerationParams,
    Part,
    Prefilled,
    Question,
    Reading,
    Retracted,
    StreamEvent,
    TextDelta,
    Token,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One question with what it is asked over and within; `steady` shows no text that may have to be retracted, and
    `waited_s` are seconds that it waited for its turn."""

    question: Question
    corpus: Corpus
    document_tokens: int
    budget: Budget
    strategy: str | None = None
    cache_namespace: str | None = None
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


def plan(request: Request, machinery: Machinery, spent_s: float = 0.0) -> Decision:
    """The decision alone: estimates every strategy from signals. Where it is close, a search is at hand and the model's
    calibration found that to help, its signals count too; nothing else is run.

    Args:
        spent_s: seconds that reading and indexing took already; they count inside `max_total_s`.

    Raises:
        BudgetError: no strategy is inside the limits.
    """
    return choose(signals(request, machinery), request, machinery, spent_s)


def signals(request: Request, machinery: Machinery) -> Signals:
    """What is known of a question over its documents before anything is run."""
    engine = machinery.engine
    known = gather(
        request.question,
        request.corpus,
        engine,
        request.document_tokens,
        engine.free_memory_bytes(),
        request.cache_namespace,
        machinery.profile.windows,
        machinery.pricing,
    )
    missing = next(
        (each.missing(request.corpus) for each in machinery.strategies if isinstance(each, PreparesOnce)), None
    )
    return replace(
        known,
        waited_s=request.waited_s,
        wait_s=waiting.ahead(known.load, machinery.profile),
        soft_missing=None if missing is None else round(missing * known.document_tokens),
    )


def choose(known: Signals, request: Request, machinery: Machinery, spent_s: float = 0.0) -> Decision:
    """As `plan`, from signals that were gathered before."""
    decision = _decided(known, request, machinery, spent_s)
    quality = machinery.profile.quality
    searches = machinery.search is not None and quality is not None and quality.search and known.search is None
    if not searches or not policy.is_close(decision):
        return decision
    found = look(request, machinery)
    return decision if found is None else _decided(known.searched(found), request, machinery, spent_s)


def look(request: Request, machinery: Machinery) -> SearchSignals | None:
    """What a search shows; None where it is not at hand."""
    return machinery.search.look(request.question.standalone, request.corpus) if machinery.search else None


def _decided(known: Signals, request: Request, machinery: Machinery, spent_s: float) -> Decision:
    budget, profile = request.budget, machinery.profile
    considered = policy.considered(machinery.strategies, known, profile, request.strategy)
    candidates = [strategy.estimate(known, profile, budget) for strategy in considered]
    return policy.decide(candidates, budget, known, profile, request.strategy, spent_s)


def answer(
    request: Request, machinery: Machinery, clock: Clock, stopped: Stopper | None = None
) -> Generator[StreamEvent]:
    """Decides, then carries the decision out. The last event is `Done`.

    Raises:
        BudgetError: no strategy is inside the limits; nothing was generated.
        Cancelled: `stopped` said so.
        EngineError: the model wrote nothing in all its new tokens.
        EngineTimeoutError: `max_total_s` was over before there was an answer.
    """
    with clock.step("decide"):
        decision = plan(request, machinery, clock.seconds("index"))
    documents = tuple(document.info() for document in request.corpus.documents)
    yield Decided(decision, documents, clock.seconds("index"))
    yield from carry_out(decision, request, machinery, clock, stopped)


def carry_out(
    decision: Decision, request: Request, machinery: Machinery, clock: Clock, stopped: Stopper | None = None
) -> Generator[StreamEvent]:
    """Prepares, generates, checks and records what was decided. The last event is `Done`.

    Text that could still become the refusal sentence is held back; text that turns out not to be in the documents is
    `Retracted`, and the answer is then an abstention. An answer that `max_total_s` or `max_cost` ends is `Cut`.

    Raises:
        Cancelled: `stopped` said so.
        EngineError: the model wrote nothing in all its new tokens, or no answer in those that `max_cost` pays for.
        EngineTimeoutError: `max_total_s` was over before there was an answer.
    """
    engine, question, corpus = machinery.engine, request.question, request.corpus
    watch = Watch(_within(request, clock, stopped), machinery.progress, request.cache_namespace)
    strategy = next(s for s in machinery.strategies if s.name == decision.chosen)
    watch.go_on()
    with clock.aside("load"):
        engine.open()
    watch.go_on()
    with clock.aside("index"):
        strategy.warm(corpus)
    watch.go_on()
    with clock.step("prepare"):
        context = strategy.prepare(question, corpus, request.budget, watch)
    decision = policy.noted(decision, fell_back(context))

    growing = Visible(lambda text: is_settled(text, question)) if request.steady else Visible()
    finished = NOTHING_READ
    with clock.step("generate"):
        # Nothing that could be read means nothing that could be answered: the model is not asked.
        params = _params(request, decision, machinery, clock, watch.read_tokens)
        events = engine.generate(context, params, stopped) if context.parts else ()
        for event in events:
            match event:
                case Prefilled(done, total):
                    yield Reading(done, total)
                case Token(text):
                    for delta in growing.push(text):
                        clock.first_word()
                        yield TextDelta(delta)
                case Finished():
                    finished = event
    if finished.reason == "cancelled":
        raise Cancelled("given up before the answer was complete")
    if finished.reason == "length" and not growing.raw.strip():
        # Models that reason may spend all their tokens on it: that says nothing of the documents.
        raise EngineError(
            f"the model used its {params.max_tokens:,} new tokens without writing an answer",
            hint="allow more max_tokens",
        )

    with clock.step("check"):
        numbered = isinstance(engine, AsksInWords) and has_numbers(context, engine.prompt_format)
        quotable = not isinstance(strategy, Fragments) or strategy.quotable
        checked = _check(growing.raw, question, context, corpus, numbered=numbered, quotable=quotable)
    cut = _cut(request, params, decision, finished)
    if cut is not None and checked.abstained and not checked.refused:
        # What was written is too little to be an answer: that says nothing of the documents.
        raise _over(cut.limit, cut.allowed)
    for delta in growing.finish(checked.abstained):
        clock.first_word()
        yield TextDelta(delta)
    if checked.abstained and growing.shown:
        yield Retracted("not in the text that was read")
    if cut is not None:
        yield cut
    clock.first_word()
    soft_tokens = context.soft_tokens if isinstance(context, SoftContext) else 0
    result = _answer(request, machinery, decision, finished, clock, checked, watch, soft_tokens)
    yield Done(_recorded(result, corpus, machinery, finished.prompt_tokens))


NOTHING_READ = Finished("stop", 0, 0)

FRAGMENTS = "pieces of sentences were read; what is cited are the sentences of the source that they stand in"

SOFTENED = "the documents were read as soft tokens; what is cited are the sentences of the source that match the answer"


def _within(request: Request, clock: Clock, stopped: Stopper | None) -> Stopper:
    """Says whether the caller gave up; raises EngineTimeoutError where a limit in seconds, from now on, is over."""
    begin, own = clock.total_s(), request.decoding.timeout_s

    def check() -> bool:
        if stopped is not None and stopped():
            return True
        left = _left(request, clock)
        if left is not None and left <= 0:
            raise _over("max_total_s", request.budget.max_total_s or 0.0)
        if own is not None and clock.total_s() - begin > own:
            raise _over("timeout_s", own)
        return False

    return check


def _over(limit: str, allowed: float) -> EngineError:
    kind, more = (EngineError, "max_cost") if limit == "max_cost" else (EngineTimeoutError, "time")
    return kind(
        f"{limit} {allowed:g} was over before there was an answer",
        hint=f"allow more {more}, or give fewer documents",
    )


def _left(request: Request, clock: Clock) -> float | None:
    """Seconds of `max_total_s` that are left; None without one."""
    limit = request.budget.max_total_s
    return None if limit is None else limit - clock.total_s() - clock.seconds("index")


def _params(request: Request, decision: Decision, machinery: Machinery, clock: Clock, scanned: int) -> GenerationParams:
    """How to decode: at most the task's new tokens and those that `max_cost` pays for, and no longer than `max_total_s`
    and the caller's time leave."""
    known = Signals.from_record(decision.signals)
    left, decoding = _left(request, clock), request.decoding
    left = None if left is None else max(left, 1e-3)
    return GenerationParams(
        max_tokens=affordable(decision[decision.chosen], request.budget, known, machinery.profile, scanned),
        temperature=decoding.temperature,
        stop=decoding.stop,
        choices=listed(request.question.text) if "choices" in machinery.engine.capabilities else (),
        seed=decoding.seed,
        timeout_s=min((time for time in (left, decoding.timeout_s) if time is not None), default=None),
        cache_namespace=request.cache_namespace,
    )


def _cut(request: Request, params: GenerationParams, decision: Decision, finished: Finished) -> Cut | None:
    """Which of the caller's limits ended the answer, if one did."""
    if finished.reason == "length" and params.max_tokens < decision.signals["max_new_tokens"]:
        return Cut("max_cost", request.budget.max_cost or 0.0)
    if finished.reason != "timeout":
        return None
    limit, own = request.budget.max_total_s, request.decoding.timeout_s
    if limit is None or params.timeout_s == own:
        return Cut("timeout_s", own or 0.0)
    return Cut("max_total_s", limit)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is left of the model's text: the answer with its citations, or an abstention with the nearest passage;
    `refused` where the model itself said so."""

    text: str
    abstained: bool
    refused: bool = False
    citations: tuple[Citation, ...] = ()
    nearest: Citation | None = None
    notes: tuple[str, ...] = ()


def _check(
    raw: str, question: Question, context: Context, corpus: Corpus, *, numbered: bool, quotable: bool
) -> _Checked:
    """Args: quotable: of what was read no sentence was cut; else citations are of the source's sentences."""
    checked, quotes = _compared(raw, question, context, corpus, numbered=numbered)
    if isinstance(context, SoftContext):
        return replace(checked, notes=(SOFTENED,))
    if quotable or all(_is_whole(part, corpus) for part in context.parts):
        return checked
    said = {quote.text for quote in quotes}  # what the model quoted itself is shown as it said it
    widened = tuple(
        cited if cited.quote in said else citations.in_whole_sentences(cited, corpus.documents)
        for cited in checked.citations
    )
    nearest = checked.nearest and citations.in_whole_sentences(checked.nearest, corpus.documents)
    # Pieces of one sentence are one citation then.
    return replace(checked, citations=tuple(dict.fromkeys(widened)), nearest=nearest, notes=(FRAGMENTS,))


def _is_whole(part: Part, corpus: Corpus) -> bool:
    return part.span.start == 0 and part.span.end == len(corpus.document(part.span.document_id).text)


def _compared(
    raw: str, question: Question, context: Context, corpus: Corpus, *, numbered: bool
) -> tuple[_Checked, tuple[citations.Quote, ...]]:
    text, quotes = citations.split_quotes(raw)
    own = citations.own_citations(quotes, context, corpus.documents, numbered=numbered)
    if is_answer(text, question, context.parts, (citation.quote for citation in own if citation.found)):
        cited = citations.with_match(own, text, question.text, context, corpus.documents)
        return _Checked(text, False, citations=cited), quotes
    refused = bool(text.strip()) and is_refusal(text)
    near = citations.nearest_sentence(question.standalone, context.parts)
    if near is None:
        return _Checked(REFUSAL, True, refused), quotes
    part, start, end = near
    document = corpus.document(part.span.document_id)
    nearest = citations.citation_at(document, part.span.start + start, part.span.start + end, "matched")
    return _Checked(REFUSAL, True, refused, nearest=nearest), quotes


def _answer(
    request: Request,
    machinery: Machinery,
    decision: Decision,
    finished: Finished,
    clock: Clock,
    checked: _Checked,
    watch: Watch,
    soft_tokens: int,
) -> Answer:
    total_s = clock.total_s()
    here = total_s if decision[decision.chosen].memory_bytes is not None else None
    every = attempts.together(watch.asked, finished)
    read = every.prompt_tokens + watch.read_tokens
    usage = Usage(
        prompt_tokens=every.prompt_tokens,
        cached_tokens=every.cached_tokens,
        soft_tokens=soft_tokens,
        completion_tokens=every.completion_tokens,
        first_token_s=every.first_token_s,
        ttft_s=clock.ttft_s,
        total_s=total_s,
        load_s=clock.seconds("load"),
        index_s=clock.seconds("index"),
        peak_memory_bytes=every.peak_memory_bytes,
        acceptance_rate=_accepted(machinery.engine, finished),
        cost=machinery.pricing.cost(read, every.cached_tokens, every.completion_tokens, here),
        attempts=attempts.records(watch.asked, decision.chosen),
        scanned_tokens=watch.read_tokens,
    )
    ways = {"length": f"at {finished.completion_tokens} new tokens", "timeout": "by the time limit"}
    cut = None if checked.abstained else ways.get(finished.reason)
    return Answer(
        id=decision.id,
        question=request.question.text,
        text=checked.text,
        abstained=checked.abstained,
        citations=checked.citations,
        usage=usage,
        decision=decision,
        budget=_kept(request.budget, usage),
        model=machinery.engine.model,
        nearest=checked.nearest,
        trace=clock.trace(),
        notes=(() if cut is None else (CUT + cut,)) + checked.notes,
    )


def _accepted(engine: Engine, finished: Finished) -> float | None:
    """Share of the tokens proposed for an answer that were what the model wrote."""
    return engine.drafted().rate if isinstance(engine, Drafts) and finished is not NOTHING_READ else None


def _recorded(result: Answer, corpus: Corpus, machinery: Machinery, prompt_tokens: int) -> Answer:
    """The answer, written to the ledger; a ledger that can't be written never costs the answer.

    Args:
        prompt_tokens: that the answer itself was written from.
    """
    try:
        machinery.ledger.record(result, corpus.documents, machinery.profile.prefill_seconds(prompt_tokens))
    except StoreError as error:
        return replace(result, notes=(*result.notes, f"not recorded in the ledger: {error.message}"))
    return result


def _kept(budget: Budget, usage: Usage) -> BudgetResult:
    """Which limits the measured figures kept. A first ask pays for its indexing inside `max_total_s`."""
    measured = {
        "max_total_s": usage.total_s + usage.index_s,
        "max_ttft_s": usage.ttft_s,
        "max_prompt_tokens": usage.prompt_tokens,
        "max_cost": usage.cost,
        "max_memory_bytes": usage.peak_memory_bytes,
    }
    limits = budget.limits()
    broken = tuple(name for name, allowed in limits.items() if (measured[name] or 0) > allowed)
    return BudgetResult(limits, not broken, broken)

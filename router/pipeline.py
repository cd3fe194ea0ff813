"""The whole path of one question, in one function: signals, candidates, decision, context, engine, check, answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from turnout.contracts import Engine, Stopper, Strategy
from turnout.engines.device import available_memory_bytes
from turnout.engines.prompt import REFUSAL
from turnout.errors import Cancelled
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.sentences import sentences
from turnout.router import citations, policy
from turnout.router.check import is_grounded, is_refusal
from turnout.router.clock import Clock
from turnout.router.ledger import Ledger
from turnout.router.profile import ModelProfile
from turnout.router.signals import gather
from turnout.router.visible import Visible
from turnout.types import (
    Answer,
    Budget,
    BudgetResult,
    Citation,
    Context,
    Decided,
    Decision,
    Done,
    Finished,
    GenerationParams,
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
    """One question with what it is asked over and within."""

    question: Question
    corpus: Corpus
    document_tokens: int
    budget: Budget
    strategy: str | None = None
    params: GenerationParams | None = None


@dataclass(frozen=True, slots=True)
class Machinery:
    """What carries it out."""

    engine: Engine
    strategies: Sequence[Strategy]
    profile: ModelProfile
    ledger: Ledger


def plan(request: Request, machinery: Machinery) -> Decision:
    """The decision alone: estimates every strategy from signals, runs nothing.

    Raises:
        BudgetError: no strategy is inside the limits.
    """
    signals = gather(
        request.question, request.corpus, machinery.engine, request.document_tokens, available_memory_bytes()
    )
    candidates = [strategy.estimate(signals, machinery.profile) for strategy in machinery.strategies]
    return policy.decide(candidates, request.budget, signals, machinery.profile.measured, request.strategy)


def answer(
    request: Request, machinery: Machinery, clock: Clock, stopped: Stopper | None = None
) -> Iterator[StreamEvent]:
    """Decides, prepares, generates, checks and records. The last event is `Done`.

    Text that could still become the refusal sentence is held back; text that turns out not to be in the documents is
    `Retracted`, and the answer is then an abstention.
    """
    engine, question = machinery.engine, request.question
    with clock.step("decide"):
        decision = plan(request, machinery)
    yield Decided(decision, tuple(document.info() for document in request.corpus.documents))

    strategy = next(s for s in machinery.strategies if s.name == decision.chosen)
    with clock.aside("index"):
        strategy.warm(request.corpus)
    with clock.step("prepare"):
        context = strategy.prepare(question, request.corpus, request.budget)
    with clock.aside("load"):
        engine.open()

    params = request.params or GenerationParams(max_tokens=decision.signals["max_new_tokens"])
    growing, finished = Visible(), None
    with clock.step("generate"):
        for event in engine.generate(context, params, stopped):
            match event:
                case Prefilled(done, total):
                    yield Reading(done, total)
                case Token(text):
                    for delta in growing.push(text):
                        clock.first_word()
                        yield TextDelta(delta)
                case Finished():
                    finished = event
    if finished is None:
        raise RuntimeError("the engine ended without a Finished event")
    if finished.reason == "cancelled":
        raise Cancelled("given up before the answer was complete")

    with clock.step("check"):
        text, abstained, cited, nearest = _check(growing.raw, question, context, request.corpus)
    for delta in growing.finish():
        clock.first_word()
        yield TextDelta(delta)
    if abstained and growing.shown:
        yield Retracted("not in the text that was read")
    clock.first_word()
    result = _answer(request, machinery, decision, finished, clock, (text, abstained, cited, nearest))
    machinery.ledger.record(
        result,
        [document.id for document in request.corpus.documents],
        machinery.profile.prefill_seconds(finished.prompt_tokens),
    )
    yield Done(result)


def _check(
    raw: str, question: Question, context: Context, corpus: Corpus
) -> tuple[str, bool, tuple[Citation, ...], Citation | None]:
    """(text, abstained, citations, nearest passage of an abstention)."""
    text, quotes = citations.split_quotes(raw)
    text = text or raw.strip()
    if is_refusal(text) or not is_grounded(text, question.text, question.task, context.parts):
        near = citations.nearest_sentence(question.standalone, context.parts, sentences)
        nearest = None
        if near:
            part, start, end = near
            document = corpus.document(part.span.document_id)
            nearest = citations.citation_at(document, part.span.start + start, part.span.start + end, "matched")
        return REFUSAL, True, (), nearest
    return text, False, citations.cite(text, quotes, context, corpus.documents, sentences, question.text), None


def _answer(
    request: Request,
    machinery: Machinery,
    decision: Decision,
    finished: Finished,
    clock: Clock,
    checked: tuple[str, bool, tuple[Citation, ...], Citation | None],
) -> Answer:
    text, abstained, cited, nearest = checked
    local = decision[decision.chosen].cost is not None
    usage = Usage(
        prompt_tokens=finished.prompt_tokens,
        cached_tokens=finished.cached_tokens,
        completion_tokens=finished.completion_tokens,
        first_token_s=finished.first_token_s,
        ttft_s=clock.ttft_s,
        total_s=clock.total_s(),
        load_s=clock.seconds("load"),
        index_s=clock.seconds("index"),
        peak_memory_bytes=finished.peak_memory_bytes,
        cost=clock.total_s() if local else None,
    )
    return Answer(
        id=decision.id,
        question=request.question.text,
        text=text,
        abstained=abstained,
        citations=cited,
        usage=usage,
        decision=decision,
        budget=_kept(request.budget, usage),
        model=machinery.engine.model,
        nearest=nearest,
        trace=clock.trace(),
    )


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

"""The whole path of one question in order: decision, context, engine, check, answer, ledger."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from turnout.contracts import AsksInWords, Drafts, Engine, Fragments, Stopper
from turnout.engines.prompt import has_numbers
from turnout.engines.soft.kind import SoftContext
from turnout.engines.speculative.plan import Counts
from turnout.errors import Cancelled, EngineError, StoreError
from turnout.progress import Watch
from turnout.record import CUT
from turnout.router import agreement, attempts, limits, policy
from turnout.router.check import is_settled
from turnout.router.checked import Checked, compare
from turnout.router.clock import Clock
from turnout.router.deciding import plan
from turnout.router.request import Machinery, Request
from turnout.router.strategies.rapid import fell_back
from turnout.router.visible import Visible
from turnout.types import (
    Answer,
    Decided,
    Decision,
    Done,
    Finished,
    Prefilled,
    Reading,
    Retracted,
    StreamEvent,
    TextDelta,
    Token,
    Usage,
)


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
    watch = Watch(limits.within(request, clock, stopped), machinery.progress, request.cache_namespace)
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
        params = limits.params(request, decision, machinery, clock, watch.read_tokens)
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
        checked = compare(growing.raw, question, context, corpus, numbered=numbered, quotable=quotable)
    cut = limits.cut(request, params, decision, finished)
    if cut is not None and checked.abstained and not checked.refused:
        # What was written is too little to be an answer: that says nothing of the documents.
        raise limits.over(cut.limit, cut.allowed)
    for delta in growing.finish(checked.abstained):
        clock.first_word()
        yield TextDelta(delta)
    if checked.abstained and growing.shown:
        yield Retracted("not in the text that was read")
    if cut is not None:
        yield cut
    clock.first_word()
    soft_tokens = context.soft_tokens if isinstance(context, SoftContext) else 0
    drafted = agreement.drafted(engine, context, params)
    checked = replace(checked, notes=(*checked.notes, *agreement.notes(drafted)))
    result = _answer(request, machinery, decision, finished, clock, checked, watch, soft_tokens)
    yield Done(_recorded(result, request, machinery, finished.prompt_tokens, drafted))


NOTHING_READ = Finished("stop", 0, 0)


def _answer(
    request: Request,
    machinery: Machinery,
    decision: Decision,
    finished: Finished,
    clock: Clock,
    checked: Checked,
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
        budget=limits.kept(request.budget, usage),
        model=machinery.engine.model,
        nearest=checked.nearest,
        trace=clock.trace(),
        notes=(() if cut is None else (CUT + cut,)) + checked.notes,
    )


def _accepted(engine: Engine, finished: Finished) -> float | None:
    """Share of the tokens proposed for an answer that were what the model wrote."""
    return engine.drafted().rate if isinstance(engine, Drafts) and finished is not NOTHING_READ else None


def _recorded(
    result: Answer, request: Request, machinery: Machinery, prompt_tokens: int, drafted: Counts | None
) -> Answer:
    """The answer, written to the ledger; a ledger that can't be written never costs the answer.

    Args:
        prompt_tokens: that the answer itself was written from.
    """
    try:
        raw_s = machinery.profile.prefill_seconds(prompt_tokens)
        machinery.ledger.record(result, request.corpus.documents, raw_s, drafted, request.collection)
    except StoreError as error:
        return replace(result, notes=(*result.notes, f"not recorded in the ledger: {error.message}"))
    return result

"""The whole path of one question in order: decision, context, engine, check, answer, ledger."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from turnout.contracts import Stopper
from turnout.errors import Cancelled, StoreError, TurnoutError
from turnout.record import CUT
from turnout.router import limits, pointing, support_model
from turnout.router.attempt import attempt
from turnout.router.clock import Clock
from turnout.router.deciding import plan
from turnout.router.escalation import Course, Given
from turnout.router.request import Machinery, Request
from turnout.types import Answer, Decided, Decision, Done, Retracted, StreamEvent, TextDelta, Usage


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
    yield _decided(decision, request, clock)
    yield from carry_out(decision, request, machinery, clock, stopped)


def carry_out(
    decision: Decision, request: Request, machinery: Machinery, clock: Clock, stopped: Stopper | None = None
) -> Generator[StreamEvent]:
    """Prepares, generates, checks and records what was decided. The last event is `Done`.

    Text that could still become the refusal sentence is held back; text that turns out not to be in the documents is
    `Retracted`, and the answer is then an abstention. An answer that `max_total_s` or `max_cost` ends is `Cut`. Where
    the request wants escalation, an outcome that the text does not bear is given up for that of another strategy, which
    is `Decided` in its turn.

    Raises:
        Cancelled: `stopped` said so.
        EngineError: the model wrote nothing in all its new tokens, or no answer in those that `max_cost` pays for.
        EngineTimeoutError: `max_total_s` was over before there was an answer.
    """
    course = Course(decision, request, machinery, clock)
    turn: Decision | None = decision
    while turn is not None:
        asked, watch, text = course.begun(turn, stopped)
        try:
            course.took((yield from attempt(turn, asked, machinery, clock, watch, text, stopped)))
        except Cancelled:
            raise
        except TurnoutError as error:
            if not course.tried:
                raise
            course.failed(turn, error)
        turn = course.next()
        if turn is not None:
            yield from course.cleared()
            yield _decided(turn, request, clock)

    given = course.given()
    made, checked = given.attempt, given.checked
    if made.text is not text:
        yield from course.cleared()
    for delta in made.text.finish(checked.abstained):
        clock.first_word()
        yield TextDelta(delta)
    if checked.abstained and made.text.shown:
        yield Retracted("not in the text that was read")
    if made.cut is not None:
        yield replace(made.cut, allowed=request.budget.limits().get(made.cut.limit, made.cut.allowed))
    clock.first_word()
    if pointing.is_wanted(request, machinery, checked, made.context):
        with clock.step("point"):
            pointed = pointing.pointed(checked, made.context, request, machinery, made.watch, quotable=made.quotable)
            given = replace(given, checked=pointed)
    yield Done(_recorded(_answer(request, machinery, course, given, clock), request, machinery, given))


def _decided(decision: Decision, request: Request, clock: Clock) -> Decided:
    documents = tuple(document.info() for document in request.corpus.documents)
    return Decided(decision, documents, clock.seconds("index"))


def _answer(request: Request, machinery: Machinery, course: Course, given: Given, clock: Clock) -> Answer:
    made, decision, checked = given.attempt, given.decision, given.checked
    total_s = clock.total_s()
    every = course.spent(made.finished)
    usage = Usage(
        prompt_tokens=every.prompt_tokens,
        cached_tokens=every.cached_tokens,
        soft_tokens=sum(attempt.soft_tokens for attempt, _ in course.tried),
        completion_tokens=every.completion_tokens,
        first_token_s=every.first_token_s,
        ttft_s=clock.ttft_s,
        total_s=total_s,
        load_s=clock.seconds("load"),
        index_s=clock.seconds("index"),
        peak_memory_bytes=every.peak_memory_bytes,
        acceptance_rate=made.acceptance_rate,
        cost=course.cost(made, total_s),
        attempts=course.records(made),
        scanned_tokens=course.read_tokens,
    )
    ways = {"length": f"at {made.finished.completion_tokens} new tokens", "timeout": "by the time limit"}
    cut = None if checked.abstained else ways.get(made.finished.reason)
    confidence, citations = support_model.probabilities(
        machinery.support, made.support, request.question.standalone, checked
    )
    return Answer(
        id=decision.id,
        question=request.question.text,
        text=checked.text,
        abstained=checked.abstained,
        citations=citations,
        usage=usage,
        decision=decision,
        budget=limits.kept(request.budget, usage),
        model=machinery.engine.model,
        confidence=confidence,
        nearest=checked.nearest,
        trace=clock.trace(),
        notes=(() if cut is None else (CUT + cut,)) + (*made.watch.notes, *checked.notes),
        support=made.support.record(),
    )


def _recorded(result: Answer, request: Request, machinery: Machinery, given: Given) -> Answer:
    """The answer, written to the ledger; a ledger that can't be written never costs the answer."""
    # Predicted for the prompt that the answer itself was written from.
    piece = result.decision.signals["piece_tokens"]
    raw = machinery.profile.prefill_seconds(given.attempt.finished.prompt_tokens, piece=piece)
    try:
        documents = request.corpus.documents
        machinery.ledger.record(result, documents, raw, given.attempt.drafted, request.collection)
    except StoreError as error:
        return replace(result, notes=(*result.notes, f"not recorded in the ledger: {error.message}"))
    return result

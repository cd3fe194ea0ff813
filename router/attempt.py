"""One strategy's attempt at a question: context, engine, check."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from turnout.contracts import AsksInWords, Drafts, Engine, Fragments, Stopper
from turnout.engines.prompt import has_numbers
from turnout.engines.soft.kind import SoftContext
from turnout.engines.speculative.plan import Counts
from turnout.errors import Cancelled, EngineError
from turnout.progress import Watch
from turnout.router import agreement, limits, policy, support
from turnout.router.checked import Checked, compare
from turnout.router.clock import Clock
from turnout.router.request import Machinery, Request
from turnout.router.strategies.rapid import fell_back
from turnout.router.support import Support
from turnout.router.visible import Visible
from turnout.types import (
    Context,
    Cut,
    Decision,
    Finished,
    GenerationParams,
    Prefilled,
    Reading,
    StreamEvent,
    TextDelta,
    Token,
)

NOTHING_READ = Finished("stop", 0, 0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of it.

    Attributes:
        decision: that it carried out.
        context: that the model read; `quotable` whether its sentences are whole, see `contracts.Fragments`.
        text: the answer's, as far as it was shown and as far as it was held back.
        finished: of the last asking of the reader; those before it are in `watch`.
        cut: the limit that ended it, if one did.
        acceptance_rate: share of what was proposed for the answer that the model wrote; None where nothing was.
        total_s: that it took.
    """

    decision: Decision
    context: Context
    quotable: bool
    text: Visible
    checked: Checked
    support: Support
    finished: Finished
    watch: Watch
    cut: Cut | None
    drafted: Counts | None
    acceptance_rate: float | None
    soft_tokens: int
    total_s: float

    @property
    def strategy(self) -> str:
        return self.decision.chosen


def attempt(
    decision: Decision,
    request: Request,
    machinery: Machinery,
    clock: Clock,
    watch: Watch,
    text: Visible,
    stopped: Stopper | None = None,
) -> Generator[StreamEvent, None, Attempt]:
    """Prepares, generates and checks what was decided; what `text` lets through is shown meanwhile.

    Args:
        watch: hears of what is read before the answer; its limits are those of the attempt.

    Raises:
        Cancelled: `stopped` said so.
        EngineError: the model wrote nothing in all its new tokens, or no answer in those that `max_cost` pays for.
        EngineTimeoutError: `max_total_s` was over before there was an answer.
    """
    begin = clock.total_s()
    engine, question, corpus = machinery.engine, request.question, request.corpus
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

    finished = NOTHING_READ
    with clock.step("generate"):
        # Nothing that could be read means nothing that could be answered: the model is not asked.
        params = limits.params(request, decision, machinery, clock, watch.read_tokens)
        events = engine.generate(context, params, stopped) if context.parts else ()
        for event in events:
            match event:
                case Prefilled(done, total):
                    yield Reading(done, total)
                case Token(new):
                    for delta in text.push(new):
                        clock.first_word()
                        yield TextDelta(delta)
                case Finished():
                    finished = event
    _check_finished(finished, text, params)

    with clock.step("check"):
        numbered = isinstance(engine, AsksInWords) and has_numbers(context, engine.prompt_format)
        quotable = not isinstance(strategy, Fragments) or strategy.quotable
        checked = compare(text.raw, question, context, corpus, numbered=numbered, quotable=quotable)
        drafted = agreement.drafted(engine, context, params)
        asked_model = finished is not NOTHING_READ
        borne = support.gather(question, checked, engine, drafted, asked_model=asked_model)
    cut = limits.cut(request, params, decision, machinery, clock, finished)
    if cut is not None and checked.abstained and not checked.refused:
        # What was written is too little to be an answer: that says nothing of the documents.
        raise limits.over(cut.limit, cut.allowed)
    return Attempt(
        decision=decision,
        context=context,
        quotable=quotable,
        text=text,
        checked=replace(checked, notes=(*checked.notes, *agreement.notes(drafted))),
        support=borne,
        finished=finished,
        watch=watch,
        cut=cut,
        drafted=drafted,
        acceptance_rate=_accepted(engine) if asked_model else None,
        soft_tokens=context.soft_tokens if isinstance(context, SoftContext) else 0,
        total_s=clock.total_s() - begin,
    )


def _check_finished(finished: Finished, text: Visible, params: GenerationParams) -> None:
    if finished.reason == "cancelled":
        raise Cancelled("given up before the answer was complete")
    if finished.reason == "length" and not text.raw.strip():
        # Models that reason may spend all their tokens on it: that says nothing of the documents.
        raise EngineError(
            f"the model used its {params.max_tokens:,} new tokens without writing an answer",
            hint="allow more max_tokens",
        )


def _accepted(engine: Engine) -> float | None:
    """Share of the tokens proposed for an answer that were what the model wrote."""
    return engine.drafted().rate if isinstance(engine, Drafts) else None

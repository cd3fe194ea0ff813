"""Runs strategies that were not chosen for a question, to measure what choosing them would have given.

Each run is inside what a day may take, by what it is predicted to take at worst, and is written down whatever comes of
it. It reads under a cache namespace of its own: it finds nothing of other questions and leaves nothing for them, so
that measuring changes no later decision. What `soft` keeps of documents is the exception: it serves whoever asks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from turnout.contracts import Stopper
from turnout.errors import Cancelled, ConfigurationError, StoreError, TurnoutError
from turnout.progress import silent
from turnout.record import decision_of
from turnout.router.clock import Clock
from turnout.router.counterfactuals import DAY_S, Counterfactuals, Spent, State
from turnout.router.ledger import Entry, Ledger
from turnout.router.pipeline import carry_out
from turnout.router.policy import FORCED
from turnout.router.request import Machinery, Request
from turnout.types import Answer, Budget, Candidate, Decision, Done


@dataclass(frozen=True, slots=True)
class Caps:
    """What such runs may take in a day; `cost` is None for no limit."""

    seconds: float
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A question that was answered: the answer's id, text, whether it is an abstention, and its decision."""

    id: str
    text: str
    abstained: bool
    decision: Decision

    @classmethod
    def of(cls, answer: Answer) -> Given:
        return cls(answer.id, answer.text, answer.abstained, answer.decision)

    @classmethod
    def recorded(cls, entry: Entry) -> Given | None:
        """That of a ledger's entry; None where its text was not kept."""
        if entry.content is None:
            return None
        return cls(entry.id, entry.content["text"], entry.record["abstained"], decision_of(entry.record["decision"]))


def check(caps: Caps, currency: str) -> None:
    """Refuses runs that cost money without a limit.

    Raises:
        ConfigurationError: tokens have a price, and no cost of a day is given.
    """
    if currency and caps.cost is None:
        raise ConfigurationError(
            f"measuring regret costs {currency}, and there is no limit",
            hint="say what it may cost in a day: regret_max_cost, TURNOUT_REGRET_MAX_COST",
        )


def losers(decision: Decision) -> list[Candidate]:
    """Those that could have been chosen, the quickest first; none where the caller chose by name."""
    if decision.policy.endswith(FORCED):
        return []
    found = [c for c in decision if not c.chosen and c.excluded_by is None]
    return sorted(found, key=lambda c: (c.total_s is None, c.total_s or 0.0, c.strategy))


def left(kept: Counterfactuals, caps: Caps) -> Caps:
    """What of the last 24 hours' caps is not used up."""
    spent = kept.spent(time.time() - DAY_S)
    return Caps(caps.seconds - spent.seconds, None if caps.cost is None else caps.cost - spent.cost)


def affordable(candidate: Candidate, caps: Caps) -> bool:
    """Whether a run stays inside, at worst; what is not known is a risk and never zero."""
    seconds = candidate.total_s if candidate.total_high_s is None else candidate.total_high_s
    cost = candidate.cost if candidate.cost_high is None else candidate.cost_high
    return (
        seconds is not None
        and seconds <= caps.seconds
        and (caps.cost is None or (cost is not None and cost <= caps.cost))
    )


def run(
    given: Given,
    candidate: Candidate,
    request: Request,
    machinery: Machinery,
    kept: Counterfactuals,
    stopped: Stopper | None = None,
) -> Answer | None:
    """Lets a strategy answer what another one was chosen for, and keeps what it took; None where it failed.

    Raises:
        Cancelled: `stopped` said so; what it took until then is kept too.
    """
    name, began = candidate.strategy, time.perf_counter()
    try:
        found = _answer(_instead(given.decision, name), request, machinery, stopped)
    except Exception as error:  # whatever breaks in a run that nobody asked for breaks nothing else
        state: State = "given up" if isinstance(error, Cancelled) else "failed"
        seconds = time.perf_counter() - began
        # What tokens a broken run took is not known: it counts as the whole.
        cost = (candidate.cost or 0.0) if machinery.pricing.currency else seconds
        why = error.message if isinstance(error, TurnoutError) else f"{type(error).__name__}: {error}"
        kept.ended(given.id, name, state, Spent(seconds, cost), why)
        if isinstance(error, Cancelled | StoreError):
            raise
        return None
    kept.answered(given.id, (given.text, given.abstained), found)
    return found


def _instead(decision: Decision, strategy: str) -> Decision:
    candidates: Sequence[Candidate] = [replace(c, chosen=c.strategy == strategy) for c in decision]
    return replace(decision, chosen=strategy, candidates=tuple(candidates))


def _answer(decision: Decision, request: Request, machinery: Machinery, stopped: Stopper | None) -> Answer:
    # The question alone, and none of the caller's other wishes. How long it takes is what is measured: limits of time
    # would cut it.
    apart = Request(
        request.question,
        request.corpus,
        request.document_tokens,
        Budget(max_prompt_tokens=request.budget.max_prompt_tokens),
        cache_namespace=f"regret/{decision.id}/{decision.chosen}",
        decoding=request.decoding,
    )
    unheard = replace(machinery, ledger=Ledger(machinery.ledger.database, "off"), progress=silent)
    for event in carry_out(decision, apart, unheard, Clock(), stopped):
        if isinstance(event, Done):
            return event.answer
    raise Cancelled("the pipeline ended without an answer")

"""The course of one question over several strategies: an outcome is kept, the next best strategy is asked inside what
is left of the budget, at most MOST times, or the question is answered by an abstention.

As Self-Route (arXiv 2407.16833) every attempt is paid for; unlike it, an outcome is judged by more than the reader's
own refusal, what comes next is a decision of the router like the first, and limits bind all attempts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from turnout.contracts import Stopper
from turnout.engines.prompt import REFUSAL
from turnout.errors import BudgetError, ConfigurationError, TurnoutError
from turnout.progress import Watch
from turnout.router import attempts, limits, policy
from turnout.router.attempt import Attempt
from turnout.router.check import is_settled
from turnout.router.checked import Checked
from turnout.router.clock import Clock
from turnout.router.request import Machinery, Request
from turnout.router.signals import Signals
from turnout.router.support import NOT_JUDGED, ByRule, Judgement, Support
from turnout.router.support_model import ByModel, SupportModel, default_keep_from, documents_for
from turnout.router.visible import Visible
from turnout.types import Budget, Decision, Exclusion, Finished, Retracted

MOST = 2
"""Strategies that are asked after the first."""

TRIED = "escalation"
"""Excludes what was tried already."""

ESCALATED = " escalated"
"""Ends the policy of a decision after the first."""

TOO_LATE = "no other strategy is asked: text that waits for the check of its evidence would come after max_ttft_s"
SPENT = "no other strategy could be asked inside what is left of the limits"

WHOLE = ("full", "rag", "rapid")
"""Strategies that give the same answer where they read all there is."""


class Judge(Protocol):
    """Says what to make of outcomes."""

    name: str

    def judge(self, support: Support) -> Judgement: ...

    def pick(self, judged: Sequence[tuple[str, Judgement]]) -> int: ...

    def settles(self, judged: Sequence[tuple[str, Judgement]]) -> bool:
        """Whether nothing else need be asked."""


def judge_of(request: Request, machinery: Machinery) -> Judge | None:
    """Who judges: a calibration where there is one, else the rule; None where nothing is judged.

    Raises:
        ConfigurationError: a bound is asked for that no calibration gives.
    """
    if request.escalate == "off":
        return None
    model = machinery.support
    if request.max_regret is not None:
        return check_bound(model, request.max_regret)
    return ByRule() if model is None else ByModel(model.heads, default_keep_from(model))


def check_bound(model: SupportModel | None, max_regret: float) -> ByModel:
    """Who keeps outcomes so that it costs no more than `max_regret` on average.

    Raises:
        ConfigurationError: no calibration, or one of too few documents.
    """
    if model is None:
        documents = 2 * documents_for(max_regret)
        raise ConfigurationError(
            "max_regret is a promise that only a calibration of support can give, and this model has none",
            hint=f"turnout calibrate quality, with questions over at least {documents:,} documents",
        )
    return ByModel(model.bound.heads, model.bound.keep_from(max_regret))


@dataclass(frozen=True, slots=True)
class Given:
    """What is answered: an attempt, with its decision, text and notes as the caller sees them."""

    attempt: Attempt
    decision: Decision
    checked: Checked


@dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt after the first that came to no end; what it read before is in `watch`."""

    decision: Decision
    why: str
    watch: Watch
    total_s: float


class Course:
    """Goes along with the attempts of one question, the first of which comes decided.

    Attributes:
        tried: what was carried out, with what is made of each; None where nobody judges.
    """

    def __init__(self, decision: Decision, request: Request, machinery: Machinery, clock: Clock) -> None:
        self._request, self._machinery, self._clock = request, machinery, clock
        self._judge = judge_of(request, machinery)
        self._holds = self._judge is not None and (request.steady or request.escalate == "before_text")
        self._note = ""
        if self._holds and not _in_time(decision, request.budget):
            self._judge, self._holds, self._note = None, False, TOO_LATE
        self._began_s = self._attempt_s = clock.total_s()
        self._texts: list[Visible] = []
        self._watches: list[Watch] = []
        self._failed: list[_Failed] = []
        self._is_spent = False
        self.tried: list[tuple[Attempt, Judgement | None]] = []

    def begun(self, decision: Decision, stopped: Stopper | None) -> tuple[Request, Watch, Visible]:
        """What the next attempt is asked within (of tokens, cost and the model's time what others have not spent;
        `max_total_s` counts from the call anyway), what goes along with it, and what shows its text."""
        self._attempt_s = self._clock.total_s()
        asked = self._request
        if self._watches and (left := self._left()) is not None:
            # Seconds, also those that are costs, count from the call.
            cost = left.max_cost if self._machinery.pricing.currency else asked.budget.max_cost
            limit = replace(asked.budget, max_prompt_tokens=left.max_prompt_tokens, max_cost=cost)
            time = replace(asked.decoding, timeout_s=self._time_left())
            asked = replace(asked, budget=limit, decoding=time)
        within = limits.within(asked, decision, self._machinery, self._clock, stopped)
        self._watches.append(Watch(within, self._machinery.progress, asked.cache_namespace))
        self._texts.append(self._text())
        return asked, self._watches[-1], self._texts[-1]

    def _text(self) -> Visible:
        """Before the evidence is checked nothing is shown, unless it is sure to stay."""
        question = self._request.question
        if self._holds:
            is_kept = question.task == NOT_JUDGED and self._request.max_regret is None
            return Visible(lambda text: is_kept and is_settled(text, question))
        return Visible(lambda text: is_settled(text, question)) if self._request.steady else Visible()

    def cleared(self) -> Iterator[Retracted]:
        """Takes back what the last attempt has shown, if anything."""
        if self._texts[-1].shown:
            self._texts[-1].take_back()
            yield Retracted(self._why_last())

    def took(self, attempt: Attempt) -> None:
        """An attempt came to its end."""
        judgement = None if self._judge is None else self._judge.judge(attempt.support)
        self.tried.append((attempt, judgement))

    def failed(self, decision: Decision, error: TurnoutError) -> None:
        """An attempt after the first failed: what there was before still stands."""
        seconds = self._clock.total_s() - self._attempt_s
        self._failed.append(_Failed(decision, error.message, self._watches[-1], seconds))

    def next(self) -> Decision | None:
        """What to ask now; None where an outcome is kept or nothing is left to ask."""
        if self._judge is None or self._judge.settles(self._judged()) or len(self._watches) > MOST:
            return None
        left = self._left()
        decision = None if left is None else self._decide(left)
        # Where no limit were, there would be something: then it is the limits that end it.
        self._is_spent = decision is None and self._decide(Budget(optimize=self._request.budget.optimize)) is not None
        return decision

    def given(self) -> Given:
        """What is answered with, once nothing is left to ask."""
        judged = self._judged()
        if self._judge is None or not judged:
            ((attempt, _),) = self.tried
            notes = (self._note,) if self._note else ()
            checked = replace(attempt.checked, notes=attempt.checked.notes + notes) if notes else attempt.checked
            return Given(attempt, attempt.decision, checked)
        attempt = self.tried[self._judge.pick(judged)][0]
        judgement = self._judge.judge(attempt.support)
        settles = self._judge.settles(judged)
        told = [f"{other.strategy} was asked too: {why}" for other, why in self._others(attempt)]
        told += [f"{each.decision.chosen} failed: {each.why}" for each in self._failed]
        how = "a rule, not calibrated" if judgement.probability is None else "calibrated"
        kept = f"{attempt.strategy} {'was kept' if settles else 'is the best there is'}: {judgement.why} ({how})"
        decision = replace(attempt.decision, because=(*attempt.decision.because, *told, kept))
        checked = attempt.checked
        if judgement.abstains and not checked.abstained:
            nearest = next((cited for cited in checked.citations if cited.found), None)
            checked = replace(checked, text=REFUSAL, abstained=True, citations=(), nearest=nearest)
            told.append(f"what {attempt.strategy} answered was given up: {judgement.why}")
        elif not settles and not checked.abstained:
            told.append(f"what {attempt.strategy} answers is not borne out: {judgement.why}")
        if self._is_spent:
            told.append(SPENT)
        return Given(attempt, decision, replace(checked, notes=(*checked.notes, *told)))

    def spent(self, last: Finished) -> Finished:
        """All that the reader was asked; times are of `last`, which is one of them."""
        finished = [attempt.finished for attempt, _ in self.tried if attempt.finished is not last]
        before = [("attempt", each) for each in finished]
        return attempts.together([*(each for watch in self._watches for each in watch.asked), *before], last)

    def cost(self, last: Attempt, total_s: float) -> float | None:
        """Of all attempts together, by the last one's prices; seconds where they are this machine's."""
        used = self.spent(last.finished)
        here = total_s if last.decision[last.strategy].memory_bytes is not None else None
        read = used.prompt_tokens + self.read_tokens
        return self._machinery.pricing.cost(read, used.cached_tokens, used.completion_tokens, here)

    @property
    def read_tokens(self) -> int:
        """Read beside the prompts of all attempts."""
        return sum(watch.read_tokens for watch in self._watches)

    def records(self, given: Attempt) -> tuple[Any, ...]:
        """For `Usage.attempts`: every attempt but the one that is answered with, and all follow-ups."""
        found: list[Any] = []
        for attempt, judgement in self.tried:
            found += attempts.records(attempt.watch.asked, attempt.strategy)
            if attempt is not given and judgement is not None:
                found.append(
                    {
                        "strategy": attempt.strategy,
                        "given_up": judgement.why,
                        "abstained": attempt.checked.abstained,
                        "support": judgement.probability,
                        **attempts.tokens(attempt.finished),
                        "total_s": attempt.total_s,
                    }
                )
        for each in self._failed:
            name = each.decision.chosen
            found += attempts.records(each.watch.asked, name)
            found.append({"strategy": name, "failed": each.why, "total_s": each.total_s})
        return tuple(found)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _why_last(self) -> str:
        """Why the text of the last attempt is given up."""
        attempt, judgement = self.tried[-1]
        if attempt.text is self._texts[-1] and judgement is not None:
            return judgement.why
        return self._failed[-1].why if self._failed else "another strategy answers"

    def _judged(self) -> list[tuple[str, Judgement]]:
        return [(attempt.checked.text, judgement) for attempt, judgement in self.tried if judgement is not None]

    def _others(self, given: Attempt) -> list[tuple[Attempt, str]]:
        return [(attempt, judged.why) for attempt, judged in self.tried if attempt is not given and judged is not None]

    def _left(self) -> Budget | None:
        """The limits for one attempt more; None where one of them is used up."""
        budget = self._request.budget
        used = self.spent(self.tried[-1][0].finished)
        total, first = limits.left_s(self._request, self._clock), budget.max_ttft_s
        if first is not None:
            # What was shown was in time; what was held back still has to be.
            first = first - self._clock.total_s() if self._clock.ttft_s is None else None
        if first is not None and self._holds:
            # What is held back is shown with its end, so that all of it has to be in time.
            total = first if total is None else min(first, total)
        if first is not None and total is not None:
            first = min(first, total)
        tokens = None if budget.max_prompt_tokens is None else budget.max_prompt_tokens - used.prompt_tokens
        cost = budget.max_cost
        if cost is not None:
            spent = self.cost(self.tried[-1][0], self._clock.total_s())
            cost = 0.0 if spent is None else cost - spent
        found = replace(budget, max_total_s=total, max_ttft_s=first, max_prompt_tokens=tokens, max_cost=cost)
        time = self._time_left()
        is_over = any(limit <= 0 for limit in found.limits().values()) or (time is not None and time <= 0)
        return None if is_over else found

    def _time_left(self) -> float | None:
        own = self._request.decoding.timeout_s
        return None if own is None else own - (self._clock.total_s() - self._began_s)

    def _decide(self, left: Budget) -> Decision | None:
        """As the first decision, from the same signals, without what was tried and what would read the same again."""
        first = self.tried[0][0].decision
        known = replace(Signals.from_record(first.signals), waited_s=0.0)
        why = {attempt.strategy: (attempt.decision, j.why) for attempt, j in self.tried if j is not None}
        why |= {each.decision.chosen: (each.decision, each.why) for each in self._failed}
        gone = [
            replace(
                decision[name],
                chosen=False,
                reasons=(),
                excluded_by=Exclusion(TRIED, None, None, f"tried before: {reason}"),
            )
            for name, (decision, reason) in why.items()
        ]
        profile = self._machinery.profile
        considered = policy.considered(self._machinery.strategies, known, profile)
        candidates = [each.estimate(known, profile, left) for each in considered if each.name not in why]
        read_all = any(c.strategy in WHOLE and (c.prompt_tokens or 0) >= known.full_tokens for c in gone)
        if read_all:
            candidates = [
                c for c in candidates if c.strategy not in WHOLE or (c.prompt_tokens or 0) < known.full_tokens
            ]
        try:
            decision = policy.decide([*candidates, *gone], left, known, profile)
        except BudgetError:
            return None
        return replace(decision, id=first.id, policy=decision.policy + ESCALATED)


def _in_time(decision: Decision, budget: Budget) -> bool:
    """Whether text that is held back to its end is surely shown inside `max_ttft_s`."""
    end = decision[decision.chosen].total_high_s
    return budget.max_ttft_s is None or (end is not None and end <= budget.max_ttft_s)

"""Whether a reader of passages and one of the whole text say the same: what the drafts of `rapid` show for nothing.

Where both read the same into a question, the whole text accepts most of what the passages' reader drafts; few accepted
tokens mean that retrieval and full context disagree (in RAPID, arXiv 2502.20330, 0.6 to 0.7 of unsteered drafts are
accepted). Which of the two is right it does not say, so no expected score moves. It moves what drafting is expected to
gain, and is told beside the decision and the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from turnout.contracts import Drafts, Engine
from turnout.engines.speculative.plan import Counts, DraftedContext
from turnout.router.signals import Signals
from turnout.types import Context, GenerationParams

ENOUGH = 32
"""Tokens at which the whole text agreed or did not, before a share of them says anything: its standard error is under
0.09 then."""

LOW = 0.5
"""Agreement under which they are said to disagree: ours, not measured. Below it the next token of the whole text is
more often another one than that of the passages."""


def drafted(engine: Engine, context: Context, params: GenerationParams) -> Counts | None:
    """What became of the drafts of the answer just written; None where no reader of passages drafted."""
    is_drafted = isinstance(context, DraftedContext) and bool(context.draft) and not params.choices
    return engine.drafted() if is_drafted and isinstance(engine, Drafts) and engine.can_draft() else None


def share(answers: Iterable[Counts]) -> float | None:
    """Of the tokens of some answers at which a draft was judged, those where the whole text agreed; None of too few."""
    accepted = judged = 0
    for counts in answers:
        accepted, judged = accepted + counts.accepted, judged + counts.judged
    return accepted / judged if judged >= ENOUGH else None


def notes(counts: Counts | None) -> tuple[str, ...]:
    """What to say of an answer whose drafts were mostly refused. Steered ones are pulled towards the passages, so that
    low means the more."""
    found = share([counts]) if counts is not None else None
    if counts is None or found is None or found >= LOW:
        return ()
    return (
        f"retrieval and full context disagree: at {counts.refused:,} of {counts.judged:,} tokens the whole text says "
        "something else than its best passages",
    )


def told(signals: Signals) -> tuple[str, ...]:
    """What earlier answers over these documents showed, beside a decision."""
    if signals.agreement is None or signals.agreement >= LOW:
        return ()
    return (
        f"over these documents retrieval and full context disagree: {signals.agreement:.0%} of what passages foretold "
        "is what the whole text says",
    )

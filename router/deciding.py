"""The decision: signals, candidates, policy. Nothing is run but a search, and that only where it may help."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Drafts, PreparesOnce
from turnout.errors import BudgetError
from turnout.retrieval.search_signals import SearchSignals
from turnout.router import policy, series, shadow, waiting
from turnout.router.request import Machinery, Request
from turnout.router.signals import Signals, gather
from turnout.types import Decision


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
    named = request.strategy or request.shadow
    considered = policy.considered(machinery.strategies, known, machinery.profile, named)
    shares = {each.name: each.missing(request.corpus) for each in considered if isinstance(each, PreparesOnce)}
    missing = {name: round(share * known.document_tokens) for name, share in shares.items() if share is not None}
    lately = machinery.ledger.asked_lately(request.corpus.documents)
    return replace(
        known,
        waited_s=request.waited_s,
        wait_s=waiting.ahead(known.load, machinery.profile),
        soft_missing=missing.get("soft"),
        kv_missing=missing.get("soft:ape"),
        agreement=_agreement(request, machinery),
        keeps=known.keeps and machinery.lasting,
        expected_questions=series.expected(request.expected_questions, lately),
        asked_lately=lately,
        from_lately=request.expected_questions is None and lately > 0,
        left_s=request.left_s,
    )


def _agreement(request: Request, machinery: Machinery) -> float | None:
    engine = machinery.engine
    if not isinstance(engine, Drafts) or not engine.can_draft():
        return None
    return machinery.ledger.agreement(engine.model, request.corpus.documents)


def choose(known: Signals, request: Request, machinery: Machinery, spent_s: float = 0.0) -> Decision:
    """As `plan`, from signals that were gathered before."""
    if request.shadow is None or request.strategy is not None:
        return _chosen(known, request, machinery, spent_s)
    run = _decided(known, replace(request, strategy=request.shadow), machinery, spent_s)
    try:
        paper = _chosen(known, request, machinery, spent_s)
    except BudgetError:
        paper = None
    return shadow.run_instead(run, paper)


def _chosen(known: Signals, request: Request, machinery: Machinery, spent_s: float) -> Decision:
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
    named = request.strategy or request.shadow
    considered = policy.considered(machinery.strategies, known, profile, named)
    later = series.after_the_first(known)
    candidates = [
        series.with_later(strategy.estimate(known, profile, budget), strategy.estimate(later, profile, budget))
        for strategy in considered
    ]
    return policy.decide(candidates, budget, known, profile, request.strategy, spent_s)

"""Every strategy, as its contract says: estimates from signals alone, and a context that never cuts a part."""

import pytest
from support.able import AbleEngine
from support.bands import Fixed
from support.embedders import WordEmbedder
from support.library import BOOK, library_corpus
from support.routing import PROFILE, signals

from turnout.engines.fake import FakeEngine
from turnout.retrieval.hybrid import HybridRetriever
from turnout.retrieval.ldar import LdarRetriever
from turnout.router.questions import read
from turnout.router.strategies import STRATEGIES, build
from turnout.types import Budget

NAMES = [entry.name for entry in STRATEGIES]
WHOLE = {"full", "soft", "soft:ape", "rapid", "rapid:steered"}
"""Those that read everything."""


@pytest.fixture(params=NAMES)
def strategy(request: pytest.FixtureRequest):
    engine = AbleEngine(window=8192)
    ldar = LdarRetriever(WordEmbedder(), Fixed(0, 3))
    built = {s.name: s for s in build(engine, HybridRetriever(None), ldar=ldar)}
    return built[request.param], engine


def at(member, **changes):
    """Signals of a question that every strategy is for."""
    if member.name.startswith("rapid"):
        changes = {"document_tokens": 40_000, "window": 65_536, "expected_new_tokens": 160} | changes
    return signals(code=1.0, **changes)


def test_the_table_and_the_builder_name_the_same_strategies() -> None:
    assert [s.name for s in build(FakeEngine(), HybridRetriever(None))] == NAMES


def test_estimates_are_whole(strategy) -> None:
    candidate = strategy[0].estimate(at(strategy[0]), PROFILE, Budget())
    assert candidate.excluded_by is None
    assert candidate.strategy == strategy[0].name
    assert 0 <= candidate.quality_low <= candidate.quality <= candidate.quality_high <= 1
    assert 0 < candidate.ttft_s < candidate.total_s
    assert candidate.prompt_tokens > 0


def test_what_is_over_the_window_excludes_itself(strategy) -> None:
    candidate = strategy[0].estimate(at(strategy[0], window=90), PROFILE, Budget())
    assert candidate.excluded_by.limit == "window"
    assert candidate.excluded_by.needed > 90
    huge = strategy[0].estimate(at(strategy[0], document_tokens=10**6), PROFILE, Budget())
    assert (huge.excluded_by is not None) == (strategy[0].name in WHOLE)


def test_what_would_not_fit_the_memory_excludes_itself(strategy) -> None:
    candidate = strategy[0].estimate(at(strategy[0], free_memory_bytes=1), PROFILE, Budget())
    assert candidate.excluded_by.limit == "memory"
    assert strategy[0].estimate(at(strategy[0], free_memory_bytes=None), PROFILE, Budget()).excluded_by is None


def test_parts_are_verbatim_and_in_document_order(strategy, tmp_path) -> None:
    corpus = library_corpus(tmp_path, WordEmbedder(), BOOK)
    context = strategy[0].prepare(read("Who repaired the lighthouse lamp?", [], len), corpus, Budget())
    assert context.parts
    starts = [(part.span.document_id, part.span.start) for part in context.parts]
    order = [d.id for d in corpus.documents]
    assert starts == sorted(starts, key=lambda s: (order.index(s[0]), s[1]))
    for part in context.parts:
        assert part.text == corpus.document(part.span.document_id).text[part.span.start : part.span.end]


def test_a_prompt_limit_is_kept_by_the_context_or_excludes_the_strategy(strategy, tmp_path) -> None:
    member, engine = strategy
    corpus = library_corpus(tmp_path, WordEmbedder(), BOOK)
    budget = Budget(max_prompt_tokens=600)
    estimate = member.estimate(at(member), PROFILE, budget)
    if estimate.prompt_tokens <= 600:
        context = member.prepare(read("Who repaired the lighthouse lamp?", [], len), corpus, budget)
        assert context.parts
        assert engine.count(context) <= 600
    else:
        assert member.name in WHOLE  # never cut: the decision excludes it instead

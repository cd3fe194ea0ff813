import math
from dataclasses import replace

import numpy as np
import pytest
from support.routing import PROFILE, signals, surely

from turnout.retrieval.search_signals import SearchSignals
from turnout.router.kinds import KINDS
from turnout.router.quality import COLUMNS, FACTS, UNKNOWN_GAIN, QualityModel, columns, estimate, prior

SMALL, LARGE = 135_000_000, 70_000_000_000


def gap(kind: str, **changes: object) -> float:
    at = signals(kinds=surely(kind), **changes)
    return estimate("rag", at, PROFILE).quality - estimate("full", at, PROFILE).quality


def test_the_weaker_the_model_the_more_retrieval_helps() -> None:
    for kind in ("reasoning", "comparison"):
        assert gap(kind, parameters=SMALL, document_tokens=8000) > gap(kind, parameters=LARGE, document_tokens=8000)


def test_the_longer_the_document_the_more_retrieval_helps() -> None:
    for kind in ("location", "unanswerable"):
        assert gap(kind, parameters=SMALL, document_tokens=7500) > gap(kind, parameters=SMALL, document_tokens=1000)


def test_comparisons_and_summaries_want_the_whole_text_and_unanswerable_questions_do_not() -> None:
    short = {"document_tokens": 1000, "parameters": LARGE}
    assert gap("comparison", **short) < 0 < gap("unanswerable", **short)
    assert gap("summarisation", **short) < gap("comparison", **short)


def test_an_estimate_is_a_score_inside_its_interval() -> None:
    for kind in ("location", "summarisation"):
        for strategy in ("rag", "full", "never-heard-of"):
            found = estimate(strategy, signals(kinds=surely(kind)), PROFILE)
            assert 0 <= found.low <= found.quality <= found.high <= 1
            assert found.high - found.low > 0.02, "a prior is not a measurement"


def test_a_strategy_that_nothing_is_known_of_is_a_risk() -> None:
    at = signals()
    new, rag = estimate("never-heard-of", at, PROFILE), estimate("rag", at, PROFILE)
    assert new.quality == pytest.approx(rag.quality + UNKNOWN_GAIN)
    assert new.high - new.low > rag.high - rag.low


def test_without_signals_every_question_is_the_average_one() -> None:
    model = prior(SMALL)
    blank = signals(kinds=(), document_tokens=4000)
    broken = signals(kinds=(math.nan,) * 5, document_tokens=4000)
    assert model.columns(blank) == model.columns(broken)
    assert model.columns(blank)[: -len(FACTS)] == model.average[: -len(FACTS)]
    assert estimate("rag", blank, PROFILE) == estimate("rag", broken, PROFILE)


def test_columns_are_shares_shares_times_length_and_facts() -> None:
    at = signals(kinds=surely("comparison"), document_tokens=8192 - 60, options=True, effective_window=1024)
    named = dict(zip(COLUMNS, columns(at), strict=True))
    assert named["comparison"] == named["comparison x length"] == 1
    assert named["location"] == named["location x length"] == 0
    assert named["options"] == 1 and named["beyond the effective window"] == 1
    assert named["several documents"] == 0


def test_calibration_moves_the_estimate_and_narrows_it() -> None:
    model = prior(SMALL)
    at = signals()
    rows = np.tile(model.row("full", model.columns(at)), (40, 1))
    before = model.expected("full", at)
    after_beliefs = model.beliefs.updated(rows, np.full(40, 0.9), 0.1)
    mean, sd = after_beliefs.expected(rows[0])
    assert before.quality < mean < 0.9
    assert sd < (before.high - before.low) / 2.6


POOR = SearchSignals(peak=0.25, gap=0.02, contrast=0.2, passages=5.0, spread=0.25, words=0.2, missing=0.5)
GOOD = SearchSignals(peak=0.8, gap=0.2, contrast=0.7, passages=1.0, spread=0.05, words=0.9, missing=0.0)


def test_a_search_that_finds_nothing_makes_unanswerable_likelier() -> None:
    nothing, something = (
        dict(zip(COLUMNS, columns(signals(search=s), search=True), strict=True)) for s in (POOR, GOOD)
    )
    assert nothing["unanswerable"] > something["unanswerable"]
    for named in (nothing, something):
        assert sum(named[kind] for kind in KINDS) == pytest.approx(1)


def test_a_search_counts_only_where_a_calibration_found_that_it_helps() -> None:
    plain = prior(SMALL)
    searching = replace(plain, search=True)
    poor, good, none = signals(search=POOR), signals(search=GOOD), signals()
    assert plain.expected("full", poor) == plain.expected("full", good) == plain.expected("full", none)
    assert searching.expected("full", poor) != searching.expected("full", good)
    assert searching.expected("full", none) == plain.expected("full", none)
    assert QualityModel.from_dict(searching.to_dict()).search

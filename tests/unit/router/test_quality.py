import pytest
from support.routing import signals

from turnout.router.quality import quality

SMALL, LARGE = 135_000_000, 400_000_000_000


def gap(**changes: object) -> float:
    at = signals(**changes)
    return quality("rag", at) - quality("full", at)


def test_the_weaker_the_model_the_more_retrieval_helps() -> None:
    assert gap(parameters=SMALL, document_tokens=8000) > gap(parameters=LARGE, document_tokens=8000)


def test_the_longer_the_document_the_more_retrieval_helps() -> None:
    assert gap(parameters=SMALL, document_tokens=7500) > gap(parameters=SMALL, document_tokens=1000)


def test_comparisons_and_summaries_want_the_whole_text() -> None:
    assert gap(task="comparison") < 0
    assert gap(task="summarisation") < gap(task="comparison")


def test_lara_rows_are_reproduced_at_their_own_size_and_length() -> None:
    at = signals(parameters=3_000_000_000, document_tokens=8192 - 60, task="location")
    # Llama-3.2-3B at 128K: location 60.96, hallucination 52.06 for full context, mixed 85 to 15.
    assert quality("full", at) == pytest.approx(0.85 * 0.610 + 0.15 * 0.521, abs=1e-3)


def test_an_unknown_model_size_counts_as_8b() -> None:
    assert quality("full", signals(parameters=None)) == quality("full", signals(parameters=8_000_000_000))

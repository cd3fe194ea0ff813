"""What a server probably still has: learned from what it tells, by document and age."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.library import BOOK
from support.openai_stub import Stub, serve
from support.tiny_models import context

from turnout import Budget, BudgetError, Message, Text, Turnout
from turnout.engines.remote import RemoteEngine
from turnout.engines.remote_cache import HALF_LIFE_S, Known, ServerCache, beginnings
from turnout.types import Context, GenerationParams

LONG = "the light stands on the island of Sark. " * 12
OTHER = "the ferry leaves on Sundays at noon, and costs four crowns. " * 12


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def prompt(*documents: str, question: str = "why?", namespace: str | None = None):
    return beginnings([("system", ["rules " * 30]), ("user", [*documents, question])], namespace)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve(Stub(models=[{"id": "tiny", "max_model_len": 4000}], caches=True, tokenizer="vllm")) as server:
        yield server


def ask(engine: RemoteEngine, given: Context, namespace: str | None = None) -> int:
    *_, last = engine.generate(given, GenerationParams(cache_namespace=namespace))
    return last.cached_tokens


def test_nothing_is_expected_of_a_server_that_never_told_of_a_hit():
    cache = ServerCache(Clock())
    cache.read(prompt(LONG))
    cache.learn(cache.known(prompt(LONG)), 0.0)
    assert cache.expected(prompt(LONG)) == 0.0
    assert not cache.keeps


def test_a_document_is_known_by_what_stands_before_it():
    cache = ServerCache(Clock())
    cache.read(prompt(LONG, OTHER))
    cache.learn((), 1.0)
    both = cache.expected(prompt(LONG, OTHER, question="another?"))
    first = cache.expected(prompt(LONG, "x" * 500))
    assert both > 0.95
    assert 0.3 < first < 0.8
    assert cache.expected(prompt(OTHER, LONG)) < first, "the rules alone begin alike"
    assert cache.expected(prompt(LONG, OTHER, namespace="tenant")) == 0.0


def test_what_is_expected_decays_and_is_learned_by_age():
    clock = Clock()
    cache = ServerCache(clock)
    cache.read(prompt(LONG))
    cache.learn((), 1.0)
    clock.now = HALF_LIFE_S
    assert cache.expected(prompt(LONG)) == pytest.approx(0.5, abs=0.01)
    assert cache.expected(prompt(LONG), least=0.9) == 0.0
    for _ in range(20):
        cache.learn([Known(0.0, 1.0, HALF_LIFE_S)], 1.0)
    assert cache.expected(prompt(LONG), least=0.9) > 0.9
    for _ in range(20):
        cache.learn([Known(0.0, 1.0, HALF_LIFE_S)], 0.0)
    assert cache.expected(prompt(LONG)) < 0.2
    clock.now = 1.0
    assert cache.expected(prompt(LONG)) > 0.9, "of what is younger nothing was said"


def test_what_was_sent_is_bounded_and_can_be_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnout.engines.remote_cache.MOST_BEGINNINGS", 4)
    cache = ServerCache(Clock())
    for number in range(5):
        cache.read(beginnings([("user", [f"{number} {LONG}"])], None))
    assert not cache.known(beginnings([("user", [f"0 {LONG}"])], None))
    assert cache.known(beginnings([("user", [f"4 {LONG}"])], None))
    cache.forget()
    assert not cache.known(beginnings([("user", [f"4 {LONG}"])], None))


@pytest.mark.parametrize("messages", [[], [("user", [])], [("user", ["", "\ud800" * 99])]])
def test_odd_prompts_have_beginnings_too(messages: list[tuple[str, list[str]]]):
    assert all(0 < beginning.share <= 1 for beginning in beginnings(messages, "\ud800"))


def test_an_engine_expects_what_its_server_told_of(stub: Stub):
    engine = RemoteEngine(stub.url)
    given, later = context(LONG), context(LONG, question="And who built it?")
    assert (ask(engine, given), engine.resident(later)) == (0, 0)
    assert "prefix_cache" not in engine.capabilities
    told = ask(engine, given)
    assert told > 0 and "prefix_cache" in engine.capabilities
    assert engine.resident(later) == pytest.approx(told, rel=0.2)
    assert engine.surely_resident(later) == pytest.approx(told, rel=0.2)
    assert engine.resident(later, "tenant") == 0
    assert engine.resident(context(OTHER)) < engine.resident(later) / 3
    engine.forget()
    assert engine.resident(later) == 0


def test_tenants_share_nothing_where_the_server_takes_a_salt(stub: Stub):
    engine = RemoteEngine(stub.url)
    ask(engine, context(LONG), "a")
    assert ask(engine, context(LONG), "a") > 0
    assert ask(engine, context(LONG), "b") == 0


def test_every_turn_over_the_same_documents_begins_alike(stub: Stub):
    engine = RemoteEngine(stub.url)
    ask(engine, context(LONG))
    turns = (Message("user", "Where does the light stand?"), Message("assistant", "On Sark."))
    follow_up = Context(context(LONG).parts, "Who built it?", turns)
    assert ask(engine, follow_up) > len(LONG.split())
    roles = [message["role"] for message in stub.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert stub.requests[-1]["messages"][-1]["content"].endswith("Who built it?")


def test_the_router_counts_with_what_is_probably_warm(stub: Stub, tmp_path: Path):
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'currency = "EUR"\n[models.tiny]\ninput = 3.0\ncached_input = 0.3\noutput = 200.0\n', encoding="utf-8"
    )
    with Turnout(stub.url, prices=prices) as t:
        cold = t.plan("Who repaired the lamp?", Text(BOOK))["full"]
        for question in ("What does the ferry cost?", "When did the market open?"):
            t.ask(question, Text(BOOK), strategy="full")
        plan = t.plan("Who repaired the lamp?", Text(BOOK))
        warm = plan["full"]
        assert plan.signals["resident_tokens"] > 0.8 * plan.signals["full_tokens"]
        assert warm.cost < cold.cost and warm.ttft_s < cold.ttft_s
        assert any("were read before" in reason for reason in warm.reasons)
        with pytest.raises(BudgetError):
            t.plan("Who?", Text(BOOK), strategy="full", budget=Budget(max_cost=1e-6))

"""The fake engine keeps the contract that tests rely on."""

import pytest
from support.tiny_models import context, text_of

from turnout.config import Settings
from turnout.contracts import Engine
from turnout.engines import open_engine
from turnout.engines.fake import FakeEngine
from turnout.engines.prompt import REFUSAL
from turnout.errors import EngineError, EngineTimeoutError
from turnout.types import Finished, GenerationParams, Prefilled

PARAMS = GenerationParams()


def test_without_a_script_it_quotes_the_part_that_shares_most_words():
    asked = context(
        "Boats sail. They sink.", "The light stands on Sark. It shines.", question="Where does the light stand?"
    )
    assert text_of(FakeEngine().generate(asked, PARAMS)) == "The light stands on Sark."
    assert text_of(FakeEngine().generate(context("Boats sail.", question="Who?"), PARAMS)) == REFUSAL


def test_scripts_by_question_by_call_and_by_function():
    by_question = FakeEngine({"Where does the light stand?": "On Sark."})
    assert text_of(by_question.generate(context(), PARAMS)) == "On Sark."
    assert text_of(by_question.generate(context(question="else"), PARAMS)) == REFUSAL
    by_call = FakeEngine(["one", "two"])
    assert [text_of(by_call.generate(context(), PARAMS)) for _ in range(3)] == ["one", "two", "two"]
    assert text_of(FakeEngine(lambda given: given.question.upper()).generate(context(question="x"), PARAMS)) == "X"


def test_it_records_what_it_was_given_and_counts_it():
    engine = FakeEngine(["one two three"])
    events = list(engine.generate(context("word " * 800), PARAMS))
    assert [event.done for event in events if isinstance(event, Prefilled)][-1] == engine.count(context("word " * 800))
    assert engine.contexts == [context("word " * 800)]
    assert engine.params == [PARAMS]
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.completion_tokens) == ("stop", 3)


def test_limits_are_kept():
    engine = FakeEngine(["one two three"], window=100)
    assert list(engine.generate(context(), GenerationParams(max_tokens=2)))[-1].reason == "length"
    assert text_of(engine.generate(context(), GenerationParams(max_tokens=9, stop=("two",)))) == "one "
    with pytest.raises(EngineError, match="window of 100"):
        list(engine.generate(context("word " * 200), GenerationParams(max_tokens=2)))


def test_it_can_be_slow_fail_and_be_stopped():
    slow = FakeEngine(["a b c d"], token_s=0.02)
    assert list(slow.generate(context(), GenerationParams(timeout_s=0.03)))[-1].reason == "timeout"
    with pytest.raises(EngineTimeoutError):
        list(slow.generate(context(), GenerationParams(timeout_s=0.01)))
    with pytest.raises(EngineError, match="broken"):
        list(FakeEngine(failure=EngineError("broken")).generate(context(), PARAMS))
    assert list(FakeEngine().generate(context(), PARAMS, lambda: True))[-1].reason == "cancelled"


def test_the_name_fake_opens_it(settings: Settings):
    engine = open_engine(Settings(home=settings.home, model="fake"))
    assert isinstance(engine, FakeEngine)
    assert isinstance(engine, Engine)

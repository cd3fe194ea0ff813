"""An answer that is one of several given texts."""

import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models
from support.tiny_models import context, text_of

from turnout.engines.choosing import Choosing
from turnout.engines.local import LocalEngine
from turnout.types import Finished, GenerationParams

END = 99
OPTIONS = ("the light", "the lighthouse", "an island", "Ελλάδα 🙂", "C", "C++")


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=5), st.randoms())
def test_what_is_written_is_a_choice_and_every_choice_can_be_written(choices: list[list[int]], draw) -> None:
    for wanted in choices:
        for aimed in (True, False):
            choosing, written = Choosing(choices, [END]), []
            while allowed := choosing.allowed():
                following = wanted[len(written)] if len(written) < len(wanted) else END
                token = following if aimed else draw.choice(allowed)
                assert token in allowed
                rest = choosing.take(token)
                written += [*([] if token == END else [token]), *rest]
                if token == END:
                    assert not choosing.allowed()
            assert written == wanted if aimed else written in choices


def test_what_is_certain_is_not_asked_for() -> None:
    choosing = Choosing([[1, 2, 3, 4], [1, 5, 6]], [END])
    assert choosing.allowed() == [1] and choosing.take(1) == []
    assert choosing.allowed() == [2, 5] and choosing.take(5) == [6]
    assert choosing.allowed() == []


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    folder = tiny_models.build(tmp_path_factory.mktemp("models") / "tiny")
    return LocalEngine(folder, device="cpu", dtype="float32")


def test_the_model_answers_with_one_of_the_choices(engine: LocalEngine) -> None:
    assert "choices" in engine.capabilities
    params = GenerationParams(max_tokens=40, choices=OPTIONS)
    greedy = {text_of(engine.generate(context(question=f"{letter}?"), params)) for letter in string.ascii_letters}
    assert greedy <= set(OPTIONS)
    hot = (replace(params, temperature=50.0, seed=seed) for seed in range(60))
    drawn = {text_of(engine.generate(context(), each)) for each in hot}
    assert drawn <= set(OPTIONS) and len(drawn) > 2
    asked = [context(question=question) for question in ("Where?", "Who?")]
    assert engine.answer_all(asked, params) == [text_of(engine.generate(one, params)) for one in asked]


def test_bounds_of_an_answer_hold_for_choices_too(engine: LocalEngine) -> None:
    params = GenerationParams(max_tokens=40, choices=("the light stands on the island",))
    assert text_of(engine.generate(context(), params)) == params.choices[0]
    *_, last = engine.generate(context(), replace(params, max_tokens=2))
    assert isinstance(last, Finished) and (last.reason, last.completion_tokens) == ("length", 2)
    stopped = list(engine.generate(context(), replace(params, stop=(" stands",))))
    assert text_of(stopped) == "the light" and stopped[-1].reason == "stop"


def test_a_model_that_quotes_is_not_bound(tmp_path: Path) -> None:
    engine = LocalEngine(tiny_models.build(tmp_path / "tiny"), device="cpu")
    engine.__dict__["prompt_format"] = replace(engine.prompt_format, quotes=True)
    assert engine.capabilities == {"prefix_cache", "concurrent"}

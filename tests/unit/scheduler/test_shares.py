"""A step's work is bounded whatever is waiting, and nobody waits for ever."""

from pathlib import Path

import pytest
from support import tiny_models

from turnout.engines import folder as folders
from turnout.engines.scheduler.shares import Prompt, Step, half_of

STEP = Step(chunk=512, half=2000)


def test_one_alone_reads_whole_chunks_and_less_the_more_it_has_read() -> None:
    read = [STEP.shares([Prompt(8000, depth)], STEP.budget(1))[0] for depth in (0, 2000, 6000, 100_000)]
    assert read == [512, 256, 128, 64]
    assert STEP.shares([Prompt(100, 0)], 512) == [100]
    assert STEP.shares([], 512) == []


def test_a_short_question_is_read_in_one_step_while_a_long_prompt_goes_on() -> None:
    budget = STEP.budget(2)
    assert budget == 256
    long, short = STEP.shares([Prompt(90_000, 10_000), Prompt(100, 0)], budget)
    assert short == 100 and long >= 1


def test_the_oldest_prompt_gets_half_whatever_comes_later() -> None:
    shares = STEP.shares([Prompt(5000, 0), *[Prompt(64, 0)] * 15], STEP.budget(16))
    assert shares[0] >= 128 and shares[1:] == [64, 64, *[0] * 13]


def test_those_that_are_done_soonest_come_first() -> None:
    assert STEP.shares([Prompt(5000, 0), Prompt(4000, 0), Prompt(60, 0)], 256) == [128, 64, 60]


def test_a_prompt_that_is_read_by_a_policy_is_read_in_whole_chunks() -> None:
    assert STEP.shares([Prompt(5000, 512, 512)], 64) == [512]
    assert STEP.shares([Prompt(5000, 0), Prompt(300, 512, 512)], 256)[1] == 300


@pytest.mark.parametrize("budget", [-5, 0, 1, 3])
def test_however_little_is_left_the_oldest_goes_on(budget: int) -> None:
    assert STEP.shares([Prompt(5000, 0), Prompt(5000, 0)], budget)[0] >= 1


def test_a_token_takes_twice_as_long_where_attention_takes_what_the_matrices_do(tmp_path: Path) -> None:
    model = folders.read(tiny_models.build(tmp_path / "m"))
    # 2 layers of 32 numbers: 4 * 32 * 2 operations a token before it, each of which counts twice.
    assert half_of(model) == pytest.approx(2 * model.parameters / (4 * 32 * 2 * 2))

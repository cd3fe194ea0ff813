"""Others before a question: seconds until the engine begins with it, what they do to a decision, and what is said."""

import json
import random
from dataclasses import replace

import pytest
from support.routing import PROFILE, candidate, signals

from turnout.engines.in_flight import Load
from turnout.engines.scheduler.shares import Prompt, Step
from turnout.errors import BudgetError
from turnout.router import waiting
from turnout.router.cost import candidate as estimated
from turnout.router.policy import decide
from turnout.router.profile import ModelProfile
from turnout.router.quality import Estimate
from turnout.router.signals import Signals
from turnout.types import Budget, Decision

BUSY = Load(waiting=1, running=1, unread_tokens=800, prompt_tokens=3000, unwritten_tokens=100)
READING = PROFILE.prefill_seconds(800)
WRITING = PROFILE.decode_seconds(1500, 100)


def after(load: Load | None, waited_s: float = 0.0) -> Signals:
    return signals(load=load, waited_s=waited_s, wait_s=waiting.ahead(load, PROFILE))


def both(at: Signals) -> Decision:
    """Over a document that takes `full` about four times as long as rag."""
    return decided(at, Budget())


def decided(at: Signals, budget: Budget) -> Decision:
    shapes = {"full": (Estimate(0.7, 0.6, 0.8), at.full_tokens), "rag": (Estimate(0.6, 0.5, 0.7), 1100)}
    made = [
        estimated(name, quality, tokens, at, PROFILE, lambda *_: None) for name, (quality, tokens) in shapes.items()
    ]
    return decide(made, budget, at, PROFILE)


@pytest.mark.parametrize("load", [None, Load(), Load(in_turn=False)])
def test_nothing_before_it_is_no_wait_and_nothing_is_said(load: Load | None) -> None:
    at = after(load)
    assert at.wait_s == (0.0, 0.0, 0.0)
    assert waiting.told(at) == ()
    assert both(at).candidates == both(signals()).candidates


def test_an_engine_that_takes_turns_reads_and_writes_the_others_first() -> None:
    low, middle, high = waiting.ahead(BUSY, PROFILE)
    assert low == pytest.approx(READING)
    assert middle == pytest.approx(READING + WRITING / 2)
    assert high == pytest.approx(1.25 * (READING + WRITING))


def test_a_server_may_begin_at_once_and_at_worst_takes_turns_too() -> None:
    low, middle, high = waiting.ahead(replace(BUSY, in_turn=False), PROFILE)
    assert (low, middle) == (0.0, pytest.approx(READING))
    assert high == waiting.ahead(BUSY, PROFILE)[2]


def test_what_is_only_being_written_delays_no_reading_of_a_server() -> None:
    writing = Load(waiting=0, running=2, prompt_tokens=3000, unwritten_tokens=100, in_turn=False)
    assert waiting.ahead(writing, PROFILE)[:2] == (0.0, 0.0)


def test_what_the_ledger_learned_of_seconds_counts_for_the_others_too() -> None:
    slower = replace(PROFILE, corrections={"full": 2.0, "rag": 2.0})
    assert waiting.ahead(BUSY, slower)[1] == pytest.approx(2 * waiting.ahead(BUSY, PROFILE)[1])


def test_waiting_is_in_the_seconds_of_every_candidate_and_in_no_other_estimate() -> None:
    idle, busy = both(signals()), both(after(BUSY, waited_s=2.0))
    low, middle, high = waiting.ahead(BUSY, PROFILE)
    for name in ("full", "rag"):
        for field, wait in (("_s", middle), ("_low_s", low), ("_high_s", high)):
            for what in ("ttft", "total"):
                apart = getattr(busy[name], what + field) - getattr(idle[name], what + field)
                assert apart == pytest.approx(wait + 2.0)
        assert busy[name].quality == idle[name].quality
        assert busy[name].prompt_tokens == idle[name].prompt_tokens


def test_a_busy_engine_changes_the_decision_inside_a_limit_and_explain_says_so() -> None:
    budget = Budget(max_ttft_s=both(signals())["full"].ttft_high_s + 0.5)  # type: ignore[operator]
    assert decided(signals(), budget).chosen == "full"
    busy = decided(after(replace(BUSY, unread_tokens=400, unwritten_tokens=20)), budget)
    assert busy.chosen == "rag"
    assert "full possible where nothing else is being answered" in busy.would_flip
    assert any("1 waiting, 1 running" in line and "later" in line for line in busy.because)


def test_a_limit_that_an_idle_engine_would_break_too_is_not_blamed_on_others() -> None:
    at = after(BUSY)
    tight = decided(at, Budget(max_ttft_s=both(at)["rag"].ttft_high_s + 0.1))  # type: ignore[operator]
    assert tight.chosen == "rag"
    over = both(signals())["full"].ttft_high_s
    assert over is not None
    short = [candidate("full", ttft_s=over + 10), candidate("rag")]
    flips = decide(short, Budget(max_ttft_s=over), at, PROFILE).would_flip
    assert not any("nothing else" in flip for flip in flips)


def test_a_budget_that_only_others_make_impossible_may_be_tried_again() -> None:
    fast = both(signals())["rag"].ttft_high_s
    assert fast is not None
    with pytest.raises(BudgetError) as caught:
        decided(after(BUSY), Budget(max_ttft_s=fast + 0.01))
    assert caught.value.retryable
    assert "ask again when nothing else is being answered" in caught.value.hint
    with pytest.raises(BudgetError) as caught:
        decided(after(BUSY), Budget(max_ttft_s=fast / 10))
    assert not caught.value.retryable


# --- an engine that reads prompts side by side -----------------------------------------------------------------------

LONG = Load(1, 0, unread_tokens=60_000, prompt_tokens=60_000, unwritten_tokens=48, in_turn=False, step_tokens=256)
IN_TOKENS = ModelProfile(per_token_s=1.0, per_pair_s=0.0, token_s=0.0, token_per_context_s=0.0)
"""A second for a prompt token, and answers for nothing."""


def read_of_others(others: list[int], own: int) -> int:
    """Tokens of others' prompts that the scheduler itself reads until a new one is done."""
    step, left, read = Step(512, half=1e12), [*others, own], 0
    while left[-1]:
        at = [place for place, tokens in enumerate(left) if tokens]
        shares = step.shares([Prompt(left[place], 0) for place in at], step.budget(len(at)))
        for place, tokens in zip(at, shares, strict=True):
            left[place] -= tokens
            read += tokens if place < len(others) else 0
    return read


@pytest.mark.parametrize(
    ("others", "own"), [([19_200], 640), ([1_280], 6_400), ([1_280], 1_280), ([12_800] * 3, 640), ([2_560] * 3, 12_800)]
)
def test_what_is_expected_is_what_the_scheduler_does(others: list[int], own: int) -> None:
    load = Load(len(others), 0, sum(others), sum(others), 8, in_turn=False, step_tokens=256)
    soon, _, late = waiting.beside(signals(load=load), IN_TOKENS, float(own), (1, 1, 1)).first
    read = read_of_others(others, own)
    assert soon == pytest.approx(read, rel=0.2, abs=512)
    assert late >= read


def test_others_of_any_length_take_no_more_than_the_high_end() -> None:
    draw = random.Random(3)
    for _ in range(60):
        others = [64 * draw.randint(1, 300) for _ in range(draw.randint(1, 5))]
        own = 64 * draw.randint(1, 100)
        load = Load(len(others), 0, sum(others), sum(others), 8, in_turn=False, step_tokens=256)
        late = waiting.beside(signals(load=load), IN_TOKENS, float(own), (1, 1, 1)).first[2]
        assert read_of_others(others, own) <= late, (others, own)


def test_a_short_question_does_not_wait_for_a_long_document() -> None:
    idle, busy, behind = (both(at) for at in (signals(), after(LONG), after(replace(LONG, step_tokens=0))))
    assert behind["rag"].ttft_s - idle["rag"].ttft_s > 100  # type: ignore[operator]
    assert busy["rag"].ttft_s - idle["rag"].ttft_s < 2 * idle["rag"].ttft_s  # type: ignore[operator]
    assert busy["full"].ttft_s - idle["full"].ttft_s > 2 * (busy["rag"].ttft_s - idle["rag"].ttft_s)  # type: ignore[operator]
    limit = Budget(max_ttft_s=4 * idle["rag"].ttft_high_s)  # type: ignore[operator]
    assert decided(after(LONG), limit).chosen == "rag"
    with pytest.raises(BudgetError):
        decided(after(replace(LONG, step_tokens=0)), limit)


def test_what_others_read_on_meanwhile_comes_between_the_tokens_of_the_answer() -> None:
    step_s = PROFILE.per_token_s * 256
    found = waiting.beside(after(LONG), PROFILE, 0.4, (8, 24, 48))
    assert [whole - first for whole, first in zip(found.whole, found.first, strict=True)] == [
        pytest.approx(7 * step_s), pytest.approx(23 * step_s), pytest.approx(1.25 * 47 * step_s)
    ]  # fmt: skip
    nearly = replace(LONG, unread_tokens=300)
    found = waiting.beside(after(nearly), PROFILE, PROFILE.prefill_seconds(250), (8, 24, 48))
    assert found.whole[1] - found.first[1] == pytest.approx(PROFILE.prefill_seconds(300) - PROFILE.prefill_seconds(250))


def test_what_others_write_takes_a_pass_a_step_and_never_more_than_all_of_it() -> None:
    writing = Load(0, 2, prompt_tokens=3000, unwritten_tokens=100, in_turn=False, step_tokens=256)
    token_s, step_s = PROFILE.decode_seconds(1500, 1), PROFILE.per_token_s * 256
    _, middle, _ = waiting.beside(after(writing), PROFILE, 3 * step_s, (1, 1, 1)).first
    assert middle == pytest.approx(token_s / 2 + 3 * token_s)
    _, middle, late = waiting.beside(after(writing), PROFILE, 1e6, (1, 1, 1)).first
    assert middle == pytest.approx(token_s / 2 + 50 * token_s)
    assert late == pytest.approx(1.25 * 101 * token_s)


def test_a_limit_that_only_others_beside_it_break_is_blamed_on_them() -> None:
    fast = both(signals())["rag"].ttft_high_s
    assert fast is not None
    with pytest.raises(BudgetError) as caught:
        decided(after(LONG), Budget(max_ttft_s=fast + 0.01))
    assert caught.value.retryable
    with pytest.raises(BudgetError) as caught:
        decided(after(LONG), Budget(max_ttft_s=fast - 0.01))
    assert not caught.value.retryable, "alone it would break it too"
    (line,) = waiting.told(after(LONG))
    assert "others beside it (1 waiting, 0 running)" in line


def test_what_has_been_waited_is_told_apart_from_what_is_to_come() -> None:
    assert waiting.told(after(None, waited_s=3.21)) == (
        "waited 3.2 s for its turn, which count in every first word and total",
    )
    (line,) = waiting.told(after(BUSY))
    low, middle, high = waiting.ahead(BUSY, PROFILE)
    assert line.endswith(f"every first word about {middle:.1f} s later ({low:.1f} to {high:.1f})")
    assert waiting.told(after(Load(1, 0, 1, 1, 1), waited_s=0.01)) == (), "too little to matter"


def test_a_decision_is_the_same_again_from_its_record_alone() -> None:
    budget = Budget(max_ttft_s=9.0, optimize="balanced")
    first = decided(after(BUSY, waited_s=0.4), budget)
    kept = json.loads(json.dumps(dict(first.signals)))
    again = decided(Signals.from_record(kept), budget)
    assert replace(again, id=first.id) == first
    assert kept["load"]["unread_tokens"] == 800
    assert kept["wait_s"] == pytest.approx(list(waiting.ahead(BUSY, PROFILE)))

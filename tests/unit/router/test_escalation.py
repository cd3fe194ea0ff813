"""Another strategy is asked where the text does not bear an outcome: what is kept, shown, paid for and refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.embedders import WordEmbedder
from support.library import BOOK

from turnout import Answer, Budget, Decided, Decoding, Done, Reading, Retracted, Text, TextDelta, Turnout
from turnout.cli import render
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ConfigurationError, EngineError, UnknownNameError
from turnout.record import answer_json
from turnout.router.escalation import SPENT, TOO_LATE
from turnout.types import Context, StreamEvent

QUESTION = "Who repaired the lighthouse lamp?"
LONG = Text("\n\n".join(f"{BOOK} ({number})" for number in range(6)), "book.txt")
BORNE = 'Marta Lindqvist\nQuote: "Marta Lindqvist repaired the lighthouse lamp"'
LOST = 'The ferry\nQuote: "Jonas Berg mended the old lamp"'
REFUSED = "Not in the text."


def reader(says: Mapping[str, str | Exception]) -> Callable[[Context], str]:
    """Answers by what it is given to read: "rag" for passages, "full" for all of it."""

    def answer(context: Context) -> str:
        said = says["full" if sum(len(part.text) for part in context.parts) > 6000 else "rag"]
        if isinstance(said, Exception):
            raise said
        return said

    return answer


def opened(engine: FakeEngine, **options: Any) -> Turnout:
    return Turnout(engine=engine, embedder=WordEmbedder(), passage_tokens=300, **options)


def engine_of(rag: str | Exception, full: str | Exception, **options: Any) -> FakeEngine:
    return FakeEngine(reader({"rag": rag, "full": full}), window=20_000, **options)


def streamed(engine: FakeEngine, **options: Any) -> tuple[list[StreamEvent], Answer]:
    with opened(engine) as t:
        events = list(t.stream(QUESTION, LONG, **options))
    assert isinstance(events[-1], Done)
    return events, events[-1].answer


def kinds(events: list[StreamEvent]) -> list[str]:
    return [type(event).__name__ for event in events if isinstance(event, Decided | TextDelta | Retracted | Done)]


def shown(events: list[StreamEvent]) -> str:
    text = ""
    for event in events:
        text = "" if isinstance(event, Retracted) else text + (event.text if isinstance(event, TextDelta) else "")
    return text


def test_an_outcome_that_the_text_bears_is_kept_and_nothing_else_is_asked(home: Path) -> None:
    engine = engine_of(BORNE, LOST)
    events, answer = streamed(engine, escalate="before_text")
    assert (answer.text, answer.decision.chosen, answer.usage.attempts) == ("Marta Lindqvist", "rag", ())
    assert len(engine.contexts) == 1 and kinds(events)[0] == "Decided" and kinds(events).count("Decided") == 1
    assert "rag was kept: its quote stands in the text (a rule, not calibrated)" in answer.decision.because
    assert answer.confidence is None and answer.citations[0].support is None, "a rule gives no probability"


@pytest.mark.parametrize("first", [LOST, REFUSED])
def test_another_strategy_answers_unseen_and_both_are_paid_for(first: str, home: Path) -> None:
    engine = engine_of(first, BORNE)
    events, answer = streamed(engine, escalate="before_text")
    assert "Retracted" not in kinds(events) and kinds(events).count("Decided") == 2
    assert shown(events) == answer.text == "Marta Lindqvist"
    assert answer.decision.chosen == "full" and answer.decision.policy.endswith(" escalated")
    assert (answer.decision["rag"].excluded_by or answer).why.startswith("tried before: ")
    (given_up,) = answer.usage.attempts
    read = [engine.count(context) for context in engine.contexts]
    assert answer.usage.prompt_tokens == sum(read) and given_up["prompt_tokens"] == read[0]
    assert given_up["strategy"] == "rag" and 0 < given_up["total_s"] < answer.usage.total_s
    assert any(note.startswith("rag was asked too: ") for note in answer.notes)


def test_what_was_asked_stands_in_json_in_the_ledger_and_in_explain(home: Path) -> None:
    with opened(engine_of(LOST, BORNE)) as t:
        answer = t.ask(QUESTION, LONG, escalate="before_text")
        entry = t.explain(answer.id)
    assert json.loads(json.dumps(answer_json(answer)))["usage"]["attempts"][0]["strategy"] == "rag"
    assert entry.chosen == "full" and entry.record["usage"]["attempts"][0]["strategy"] == "rag"
    lines = render.explanation(entry.record, entry.question, entry.documents)
    assert any(line.startswith("attempt     rag ") and "given up: " in line for line in lines)


def test_where_text_may_be_taken_back_it_comes_at_once(home: Path) -> None:
    with opened(engine_of(LOST, BORNE)) as t:
        events = list(t.stream(QUESTION, LONG, escalate="always"))
        unseen = list(t.stream(QUESTION, LONG, escalate="always", steady=True))
    named = kinds(events)
    assert named.index("TextDelta") < named.index("Retracted") < named.index("Decided", 1)
    assert shown(events) == shown(unseen) == events[-1].answer.text == "Marta Lindqvist"
    assert "Retracted" not in kinds(unseen), "text that is to stay waits for its check"


def test_off_is_the_default_and_never_asks_again(home: Path) -> None:
    engine = engine_of(REFUSED, BORNE)
    _, answer = streamed(engine)
    assert answer.abstained and len(engine.contexts) == 1 and answer.usage.attempts == () and answer.notes == ()
    assert not any("rule" in line for line in answer.decision.because)
    assert streamed(engine_of(REFUSED, BORNE), escalate="off")[1].text == answer.text


def test_the_variable_sets_the_mode_and_a_named_strategy_is_the_only_one_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_ESCALATE", "before_text")
    assert streamed(engine_of(REFUSED, BORNE))[1].decision.chosen == "full"
    engine = engine_of(REFUSED, BORNE)
    assert streamed(engine, strategy="rag")[1].abstained and len(engine.contexts) == 1
    assert streamed(engine_of(REFUSED, BORNE), escalate="off")[1].abstained


def test_two_refusals_are_an_abstention_and_a_weak_answer_beside_one_is_given_up(home: Path) -> None:
    assert streamed(engine_of(REFUSED, REFUSED), escalate="before_text")[1].abstained
    why = 'It was Marta Lindqvist\nQuote: "a sentence that nobody wrote down"'
    _, answer = streamed(engine_of(why, REFUSED), escalate="before_text")
    assert answer.abstained and answer.decision.chosen == "full"


def test_a_weak_answer_that_two_strategies_give_is_kept(home: Path) -> None:
    weak = 'Marta Lindqvist\nQuote: "a sentence that nobody wrote down"'
    engine = engine_of(weak, weak)
    _, answer = streamed(engine, escalate="before_text")
    assert answer.text == "Marta Lindqvist" and len(engine.contexts) == 2


def test_nothing_is_asked_again_that_would_read_the_same(home: Path) -> None:
    engine = FakeEngine(answers=[REFUSED])
    with Turnout(engine=engine) as t:
        answer = t.ask(QUESTION, Text("Rain fell all week."), escalate="before_text")
    assert answer.abstained and len(engine.contexts) == 1 and answer.notes == ()


@pytest.mark.parametrize(
    ("rag", "text", "abstained"), [(REFUSED, REFUSED, True), ('Marta\nQuote: "nobody wrote this"', "Marta", False)]
)
def test_a_budget_that_is_gone_keeps_the_first_outcome_with_a_note(
    rag: str, text: str, abstained: bool, home: Path
) -> None:
    engine = engine_of(rag, BORNE)
    _, answer = streamed(engine, escalate="before_text", budget=Budget(max_prompt_tokens=2000))
    assert (answer.text, answer.abstained, len(engine.contexts)) == (text, abstained, 1)
    assert SPENT in answer.notes and answer.budget.met


def test_limits_bind_all_attempts_together(home: Path) -> None:
    both = sum(engine_of("", "").count_text(text.text) for text in (LONG,)) + 600
    engine = engine_of(REFUSED, BORNE)
    _, answer = streamed(engine, escalate="before_text", budget=Budget(max_prompt_tokens=both))
    assert len(engine.contexts) == 2 and answer.budget.met
    engine = engine_of(REFUSED, BORNE)
    _, answer = streamed(engine, escalate="before_text", budget=Budget(max_prompt_tokens=both - 400))
    assert len(engine.contexts) == 1 and SPENT in answer.notes


def test_text_is_not_held_back_past_the_limit_on_the_first_word(home: Path) -> None:
    with opened(engine_of(REFUSED, BORNE)) as t:
        least = t.plan(QUESTION, LONG)["rag"]
        assert least.ttft_high_s is not None and least.total_high_s is not None
        limit = (least.ttft_high_s + least.total_high_s) / 2
        answer = t.ask(QUESTION, LONG, escalate="before_text", budget=Budget(max_ttft_s=limit))
    assert answer.abstained and TOO_LATE in answer.notes


def test_a_second_attempt_that_fails_leaves_the_first(home: Path) -> None:
    engine = engine_of('Marta\nQuote: "nobody wrote this"', EngineError("the server is gone", hint="start it"))
    _, answer = streamed(engine, escalate="before_text")
    assert answer.text == "Marta" and "full failed: the server is gone" in answer.notes
    assert answer.usage.attempts[0]["failed"] == "the server is gone"
    with pytest.raises(EngineError, match="gone"):
        streamed(engine_of(EngineError("gone", hint=""), BORNE), escalate="before_text")


def test_giving_up_between_attempts_stops_the_second(home: Path) -> None:
    engine = engine_of(REFUSED, BORNE)
    with opened(engine) as t:
        seen = 0
        events = t.stream(QUESTION, LONG, escalate="before_text", stopped=lambda: seen > 1)
        with pytest.raises(Cancelled):
            for event in events:
                seen += isinstance(event, Decided)
        assert len(engine.contexts) == 1
        assert t.ask(QUESTION, Text(BOOK)).decision, "the next question has its turn"


def test_engines_that_answer_several_prepare_later_attempts_in_turn_too(home: Path) -> None:
    engine = engine_of(REFUSED, BORNE, capabilities=frozenset({"concurrent"}))
    held, asked = threading.Event(), []
    with opened(engine) as t:
        events = t.stream(QUESTION, LONG, escalate="before_text")
        while not isinstance(next(events), Reading):
            pass

        def other() -> None:
            with t._turn.taken():
                held.set()
                time.sleep(0.2)
                asked.append(len(engine.contexts))

        thread = threading.Thread(target=other)
        thread.start()
        assert held.wait(5)
        *_, last = events
        thread.join()
    assert asked == [1] and last.answer.text == "Marta Lindqvist"


def test_what_was_escalated_teaches_nothing_of_times_to_the_first_word(home: Path) -> None:
    with opened(engine_of(REFUSED, BORNE)) as t:
        for _ in range(3):
            t.ask(QUESTION, LONG, escalate="before_text")
        parts = t._opened()
        known = parts.ledger.corrected(parts.profile, t.model)
        assert "full" not in known.outside_s
        for _ in range(3):
            t.ask(QUESTION, LONG, strategy="full")
        assert "full" in parts.ledger.corrected(parts.profile, t.model).outside_s


def test_the_models_own_time_is_that_of_all_attempts(home: Path) -> None:
    engine = engine_of(REFUSED, BORNE)
    streamed(engine, escalate="before_text", decoding=Decoding(timeout_s=60.0))
    first, second = (params.timeout_s for params in engine.params)
    assert first == 60.0 and second is not None and second < 60.0


async def test_async_callers_have_the_same_modes(home: Path) -> None:
    with opened(engine_of(REFUSED, BORNE)) as t:
        assert (await t.aask(QUESTION, LONG, escalate="before_text")).decision.chosen == "full"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"escalate": "sometimes"}, UnknownNameError, "unknown escalate mode 'sometimes'"),
        ({"escalate": "always", "strategy": "rag"}, ConfigurationError, "'rag' is insisted on"),
        ({"max_regret": 0.1, "escalate": "off"}, ConfigurationError, "can't be kept with escalate='off'"),
        ({"max_regret": 0.1, "strategy": "rag"}, ConfigurationError, "can't be kept with strategy 'rag'"),
        ({"max_regret": 0}, ConfigurationError, "max_regret is 0"),
        ({"max_regret": "much"}, ConfigurationError, "max_regret is 'much'"),
        ({"max_regret": 0.05}, ConfigurationError, "only a calibration of support can give"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_read(
    options: dict[str, Any], error: type[Exception], says: str, home: Path
) -> None:
    engine = engine_of(BORNE, BORNE)
    with opened(engine) as t, pytest.raises(error, match=says) as caught:
        t.ask(QUESTION, home / "missing.txt", **options)
    assert caught.value.hint and not engine.contexts  # type: ignore[attr-defined]


def test_how_many_documents_a_bound_takes_is_in_the_hint(home: Path) -> None:
    with opened(engine_of(BORNE, BORNE)) as t, pytest.raises(ConfigurationError) as caught:
        t.ask(QUESTION, LONG, max_regret=0.05)
    assert "at least 38 documents" in (caught.value.hint or "")

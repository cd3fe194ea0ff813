"""Many questions as one job: order, planning, limits, and going on after a stop."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.library import BOOK

from turnout import Budget, BudgetError, EngineError, Text, Turnout
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, StoreError
from turnout.types import Context

LAMP, FERRY = "Who repaired the lighthouse lamp?", "What does the ferry to Osterholm cost?"
MINE = "The mine at Falun was closed in 1992."
CLOSED = "When was the mine closed?"


class Failing(FakeEngine):
    """Fails at one question as long as `fails`."""

    fails = True

    def generate(self, context: Context, *given: object) -> Iterator[object]:
        if context.question == FERRY and self.fails:
            raise EngineError("the engine is down", retryable=True)
        yield from super().generate(context, *given)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_questions_are_asked_by_documents_and_told_how_many_are_to_come(home: Path) -> None:
    book, mine = Text(BOOK), Text(MINE)
    with Turnout(engine=FakeEngine()) as t:
        answers = t.ask_many([(LAMP, book), (CLOSED, mine), (FERRY, book)])
        assert answers.order == (0, 2, 1)
        found = list(answers)
    assert [answer.question for answer in found] == [LAMP, FERRY, CLOSED]
    assert [answer.decision.signals["expected_questions"] for answer in found] == [2, 1, 1]
    assert "1992" in found[2].text


def test_more_questions_may_be_expected_than_are_asked(home: Path) -> None:
    with Turnout(engine=FakeEngine()) as t:
        found = list(t.ask_many([LAMP, FERRY], Text(BOOK), expected_questions=40))
    assert [answer.decision.signals["expected_questions"] for answer in found] == [40, 39]


def test_of_an_iterator_no_more_is_taken_than_is_asked(home: Path) -> None:
    taken: list[str] = []

    def questions() -> Iterator[str]:
        for question in (LAMP, FERRY):
            taken.append(question)
            yield question

    with Turnout(engine=FakeEngine()) as t:
        answers = t.ask_many(questions(), Text(BOOK))
        assert taken == []
        next(answers)
        assert taken == [LAMP]
        assert len(list(answers)) == 1
        assert list(t.ask_many(iter(()), Text(BOOK))) == []


def test_a_question_that_is_refused_does_not_end_those_after_it(home: Path) -> None:
    with Turnout(engine=FakeEngine()) as t:
        answers = t.ask_many(iter([LAMP, " ", FERRY]), Text(BOOK))
        assert "Marta" in next(answers).text
        with pytest.raises(ConfigurationError, match="a question is empty"):
            next(answers)
        assert "four crowns" in next(answers).text


def test_the_limit_for_all_is_what_is_left_of_it_for_each(home: Path) -> None:
    with Turnout(engine=FakeEngine(token_s=0.01)) as t:
        first, second = t.ask_many([LAMP, FERRY], Text(BOOK), budget=Budget(max_total_s=60, max_ttft_s=60))
    limits = [answer.budget.limits["max_total_s"] for answer in (first, second)]
    assert limits[0] <= 60 and limits[1] <= limits[0] - first.usage.total_s
    assert first.decision.signals["left_s"] == limits[0]


def test_a_question_that_failed_is_asked_again_and_one_may_be_skipped(home: Path) -> None:
    engine = Failing()
    with Turnout(engine=engine) as t:
        answers = t.ask_many([FERRY, LAMP, FERRY], Text(BOOK))
        with pytest.raises(EngineError):
            next(answers)
        engine.fails = False
        assert "four crowns" in next(answers).text
        engine.fails = True
        assert "Marta" in next(answers).text
        with pytest.raises(EngineError):
            next(answers)
        answers.skip()
        assert list(answers) == []


def test_a_budget_that_is_used_up_can_be_renewed(home: Path) -> None:
    with Turnout(engine=FakeEngine()) as t:
        answers = t.ask_many([LAMP, FERRY], Text(BOOK), budget=Budget(max_total_s=30))
        next(answers)
        answers.spent_s = 30.0
        with pytest.raises(BudgetError, match="used up before 'What does the ferry") as caught:
            next(answers)
        assert "allow()" in caught.value.hint
        answers.allow(None)
        assert "four crowns" in next(answers).text


@pytest.mark.parametrize(
    ("questions", "documents", "told"),
    [
        ([], "book", "no questions"),
        ([LAMP, "  "], "book", "a question is empty"),
        (LAMP, "book", "one text"),
        ([LAMP], None, "has no documents"),
        ([7], "book", "is no question"),
        ([(LAMP,)], "book", "is no question"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(home: Path, questions: object, documents: object, told: str) -> None:
    with Turnout(engine=FakeEngine()) as t, pytest.raises(ConfigurationError, match=told):
        t.ask_many(questions, None if documents is None else Text(BOOK))  # type: ignore[arg-type]


# --- a job file ------------------------------------------------------------------------------------------------------


def test_the_same_call_goes_on_where_a_job_stopped(home: Path, tmp_path: Path) -> None:
    job, engine = tmp_path / "job.jsonl", Failing()
    asked = [LAMP, FERRY, "Wer reparierte die Lampe? \u2028 \N{GRINNING FACE}", LAMP]
    with Turnout(engine=engine) as t, pytest.raises(EngineError):
        list(t.ask_many(asked, Text(BOOK), job=job))
    with job.open("a", encoding="utf-8") as file:
        file.write('{"key": "torn')
    engine.fails = False
    with Turnout(engine=engine) as t:
        rest = list(t.ask_many(asked, Text(BOOK), job=job))
        assert [answer.question for answer in rest] == asked[1:], "a question that is asked twice is answered twice"
        assert list(t.ask_many(asked, Text(BOOK), job=job)) == []
        added = list(t.ask_many(["And now?", *asked], Text(BOOK), job=job))
        assert [answer.question for answer in added] == ["And now?"]
        changed = list(t.ask_many([LAMP], Text(BOOK + " A new end."), job=job))
        assert len(changed) == 1, "another version of the documents is another question"
    head, *answers = lines(job)
    assert head["job"] == 1
    assert [line["question"] for line in answers] == [*asked, "And now?", LAMP]
    assert all(line["text"] and line["decision"] for line in answers)


def test_a_file_of_another_job_or_of_none_is_refused(home: Path, tmp_path: Path) -> None:
    job, other = tmp_path / "job.jsonl", tmp_path / "notes.txt"
    other.write_text("my notes\n", encoding="utf-8")
    with Turnout(engine=FakeEngine()) as t:
        list(t.ask_many([LAMP], Text(BOOK), job=job))
        with pytest.raises(ConfigurationError, match="another job: strategy differ"):
            next(t.ask_many([LAMP], Text(BOOK), strategy="rag", job=job))
        with pytest.raises(ConfigurationError, match="is no job file"):
            next(t.ask_many([LAMP], Text(BOOK), job=other))
        assert other.read_text(encoding="utf-8") == "my notes\n"
        (tmp_path / "folder").mkdir()
        with pytest.raises(StoreError, match="folder can't be used"):
            next(t.ask_many([LAMP], Text(BOOK), job=tmp_path / "folder"))
        with job.open("a", encoding="utf-8") as file:
            file.write("[]\n")
        with pytest.raises(ConfigurationError, match=r"job.jsonl:3: not an answer"):
            next(t.ask_many([FERRY], Text(BOOK), job=job))


# --- async -----------------------------------------------------------------------------------------------------------


async def test_the_async_twin_gives_the_same_and_is_cancelled_between_tokens(home: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.jsonl"
    engine = FakeEngine(answers=["Marta Lindqvist repaired the lamp.", "Marta " * 400], token_s=0.005)
    with Turnout(engine=engine) as t:

        async def ask() -> list[str]:
            return [answer.text async for answer in t.aask_many([LAMP, FERRY], Text(BOOK), job=job)]

        task = asyncio.create_task(ask())
        while len(engine.contexts) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(lines(job)) == 2, "what was answered until then is kept"
        engine._answers = ["The ferry costs four crowns."]
        assert len(await ask()) == 1

"""Many questions as one job: planned together, asked one after the other, and taken up again where they stopped."""

from __future__ import annotations

import dataclasses
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.documents import Document
from turnout.errors import BudgetError, Cancelled, ConfigurationError
from turnout.in_thread import in_thread
from turnout.inputs import Input, several
from turnout.types import Answer, Budget, Done, ModelInfo, StreamEvent

if TYPE_CHECKING:
    from turnout.asking import Decoding
    from turnout.job import JobFile

Asked = str | tuple[str, Input | Iterable[Input]]
"""A question, or one with documents of its own."""

_Stopped = Callable[[], bool] | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Next:
    """A question of a job. `left` are those over the same documents that are not answered, this one included, and
    `all_left` those of the whole job; None where nobody knows."""

    question: str
    documents: Sequence[Input]
    left: int | None = None
    all_left: int | None = None


class Asks(ABC):
    """The part of `Turnout` that asks many questions."""

    @property
    @abstractmethod
    def model(self) -> ModelInfo: ...

    @abstractmethod
    def read(self, documents: Input | Iterable[Input]) -> list[Document]: ...

    @abstractmethod
    def stream(self, *asked: Any, **options: Any) -> Generator[StreamEvent, None, None]: ...

    @abstractmethod
    def _check(
        self,
        question: str,
        budget: Budget | None,
        strategy: str | None,
        decoding: Decoding | None = None,
        expected_questions: int | None = None,
    ) -> None: ...

    def ask_many(
        self,
        questions: Iterable[Asked],
        documents: Input | Iterable[Input] | None = None,
        *,
        budget: Budget | None = None,
        expected_questions: int | None = None,
        strategy: str | None = None,
        instructions: str = "",
        decoding: Decoding | None = None,
        job: str | os.PathLike[str] | None = None,
    ) -> Answers:
        """Answers questions one after the other, each when it is asked for; the decisions count what is to come.

        Args:
            questions: questions, or (question, documents) where they are not all over the same. A list is planned as a
                whole: its questions are asked by documents, in the order in which these come first, and of the same
                documents in the order given. Of an iterator one is taken at a time.
            documents: for the questions that come without.
            budget: `max_total_s` is for all of them together and counts what answering takes, not what the caller does
                between two answers. All else is for each.
            expected_questions: how many are to come over each set of documents, where there will be more than these, or
                an iterator does not say; see `ask`.
            strategy, instructions, decoding: as for `ask`, for each.
            job: file that keeps the answers, one JSON object a line. The same call with the same file goes on with the
                questions that are not answered there.

        Raises:
            ConfigurationError: there is no question, an empty one, or one without documents.
        """
        self._check("?", budget, strategy, decoding, expected_questions)
        shared = None if documents is None else several(documents)
        options = {"strategy": strategy, "instructions": instructions, "decoding": decoding}
        return Answers(self, questions, shared, budget, expected_questions, options, job)

    async def aask_many(
        self, questions: Iterable[Asked], documents: Input | Iterable[Input] | None = None, **options: Any
    ) -> AsyncGenerator[Answer, None]:
        """`ask_many` without blocking the event loop; cancelling the task stops the engine."""
        answers = await in_thread(lambda _: self.ask_many(questions, documents, **options))
        while True:
            answer = await in_thread(answers.following)
            if answer is None:
                return
            yield answer


class Answers(Iterator[Answer]):
    """The answers of a job, made one at a time.

    After an error, `next` asks the same question again: after one that may pass, or with `allow` after a budget that is
    used up. `skip` passes it over.

    Attributes:
        order: of a list of questions, the numbers, from 0, in the order in which they are asked; those that a job file
            has answers to are passed over.
        spent_s: seconds that answering has taken so far.
    """

    def __init__(
        self,
        asks: Asks,
        questions: Iterable[Asked],
        documents: list[Input] | None,
        budget: Budget | None,
        expected: int | None,
        options: dict[str, Any],
        job: str | os.PathLike[str] | None,
    ) -> None:
        self._asks, self._budget, self._expected, self._options = asks, budget, expected, options
        self._job_path = job
        self._file: JobFile | None = None
        self._seen: Counter[str] = Counter()
        self._asked: Counter[tuple[Any, ...]] = Counter()
        self._read: tuple[tuple[Any, ...], list[Document]] | None = None
        self._now: _Next | None = None
        self._began = 0.0
        self.order: tuple[int, ...] = ()
        self.spent_s = 0.0
        if isinstance(questions, Sequence):
            if isinstance(questions, str):
                raise ConfigurationError("questions are one text", hint="give a list of questions, or call ask")
            self.order, planned = _planned([_pair(asked, documents) for asked in questions])
            self._source: Iterator[_Next] = iter(planned)
        else:
            # Not a generator: one that refuses a question would end there.
            self._source = map(partial(_unplanned, documents), questions)

    def __next__(self) -> Answer:
        answer = self.following()
        if answer is None:
            raise StopIteration
        return answer

    def following(self, stopped: _Stopped = None) -> Answer | None:
        """The next answer; None after the last.

        Args:
            stopped: asked between steps and tokens; True gives up with `Cancelled`.
        """
        while (asked := self._upcoming()) is not None:
            self._began = time.monotonic()
            try:
                answer = self._answered(asked, stopped)
            finally:
                self.spent_s += time.monotonic() - self._began
            self._now = None
            if answer is not None:
                return answer
        return None

    def skip(self) -> None:
        """Passes over the question that comes next."""
        self._upcoming()
        self._now = None

    def allow(self, budget: Budget | None) -> None:
        """Goes on under another budget, whose `max_total_s` counts from now on."""
        self._budget, self.spent_s = budget, 0.0

    def _upcoming(self) -> _Next | None:
        self._now = self._now or next(self._source, None)
        return self._now

    def _answered(self, asked: _Next, stopped: _Stopped) -> Answer | None:
        """None where the job file has an answer."""
        from turnout.job import key_of

        documents = self._documents(asked.documents)
        key = key_of(asked.question, [document.id for document in documents])
        with self._job() as answered:
            if answered[key] > self._seen[key]:
                self._seen[key] += 1
                return None
            answer = self._ask(asked, documents, stopped)
            self._seen[key] += 1
            if self._file is not None:
                self._file.add(key, answer)
            return answer

    def _ask(self, asked: _Next, documents: list[Document], stopped: _Stopped) -> Answer:
        group = _group(asked.documents)
        known = asked.left is not None or self._expected is not None
        to_come = max(asked.left or 1, (self._expected or 1) - self._asked[group])
        budget, left_s = self._left(asked, to_come)
        events = self._asks.stream(
            asked.question,
            documents,
            budget=budget,
            expected_questions=to_come if known else None,
            left_s=left_s,
            stopped=stopped,
            **self._options,
        )
        with closing(events):
            for event in events:
                if isinstance(event, Done):
                    self._asked[group] += 1
                    return event.answer
        raise Cancelled("the stream ended without an answer")

    def _left(self, asked: _Next, to_come: int) -> tuple[Budget | None, float | None]:
        """The budget of a question, and the seconds that so many questions over its documents may take, by what is left
        for each of the job."""
        budget, limit = self._budget, self._budget.max_total_s if self._budget else None
        if budget is None or limit is None:
            return budget, None
        left = limit - self.spent_s - (time.monotonic() - self._began)
        if left <= 0:
            raise BudgetError(
                f"max_total_s of {limit:g} s is used up before {asked.question!r}",
                hint="ask the rest with a new budget: allow() goes on with it, as the same call with a job file does",
            )
        first = None if budget.max_ttft_s is None else min(budget.max_ttft_s, left)
        share = left / asked.all_left * to_come if asked.all_left else None
        return dataclasses.replace(budget, max_total_s=left, max_ttft_s=first), share

    def _documents(self, given: Sequence[Input]) -> list[Document]:
        group = _group(given)
        if self._read is None or self._read[0] != group:
            self._read = group, self._asks.read(given)
        return self._read[1]

    def _job(self) -> AbstractContextManager[Counter[str]]:
        if self._job_path is None:
            return nullcontext(Counter())
        if self._file is None:
            from turnout.job import JobFile

            head = {name: self._options[name] for name in ("strategy", "instructions")}
            self._file = JobFile(self._job_path, {"model": self._asks.model.full_name} | head)
        return self._file.taken()


def _unplanned(shared: list[Input] | None, asked: Asked) -> _Next:
    return _Next(*_pair(asked, shared))


def _pair(asked: Asked, shared: list[Input] | None) -> tuple[str, Sequence[Input]]:
    """A question with its documents."""
    question, given = (asked, shared) if isinstance(asked, str) else _own(asked)
    if not question.strip():
        raise ConfigurationError("a question is empty", hint="leave it out, or ask something about the documents")
    if given is None:
        raise ConfigurationError(
            f"{question!r} has no documents", hint="give documents for all questions, or (question, documents)"
        )
    return question, given


def _own(asked: Any) -> tuple[str, list[Input]]:
    if not isinstance(asked, tuple) or len(asked) != 2 or not isinstance(asked[0], str):
        raise ConfigurationError(
            f"{asked!r:.80} is no question", hint="give a question as text, or (question, documents)"
        )
    return asked[0], several(asked[1])


def _planned(pairs: Sequence[tuple[str, Sequence[Input]]]) -> tuple[tuple[int, ...], list[_Next]]:
    """Questions by documents, each with how many are left from it on; and their numbers."""
    if not pairs:
        raise ConfigurationError("there are no questions", hint="give one or more")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, (_, documents) in enumerate(pairs):
        groups.setdefault(_group(documents), []).append(number)
    order = [number for group in groups.values() for number in group]
    left = [len(group) - place for group in groups.values() for place in range(len(group))]
    planned = [
        _Next(*pairs[number], left=of_group, all_left=len(order) - place)
        for place, (number, of_group) in enumerate(zip(order, left, strict=True))
    ]
    return tuple(order), planned


def _group(documents: Sequence[Input]) -> tuple[Any, ...]:
    """What documents are told apart by before they are read."""
    return tuple(id(each) if _is_unhashable(each) else each for each in documents)


def _is_unhashable(given: object) -> bool:
    try:
        hash(given)
    except TypeError:
        return True
    return False

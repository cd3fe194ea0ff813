"""What a `Turnout` measures of its own choices: other strategies answer a share of the questions too, when nobody
waits. What is told of it is in `logbook`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from turnout.background import Background
from turnout.documents import Document, DocumentInfo
from turnout.errors import ConfigurationError
from turnout.inputs import Input
from turnout.types import Answer, Candidate, Context

if TYPE_CHECKING:
    from turnout.parts import Parts
    from turnout.router.ledger import Entry
    from turnout.router.losers import Given
    from turnout.router.request import Request

WITHOUT_TEXT = "their answers were not kept: log=full keeps them"
GONE = "their question or documents are gone"
LED = "they were asked with a history or instructions, which are not kept"


class Measures(ABC):
    """The part of `Turnout` that measures regret."""

    _background: Background

    @abstractmethod
    def _opened(self) -> Parts: ...

    @abstractmethod
    def _in_turn(self) -> AbstractContextManager[Callable[[], bool]]: ...

    @abstractmethod
    def read(self, documents: Input | Iterable[Input]) -> list[Document]: ...

    @abstractmethod
    def _request(self, *asked: Any, **options: Any) -> Request: ...

    def measure_regret(self, limit: int = 20, *, answers: Sequence[str] | None = None) -> dict[str, Any]:
        """Lets the strategies that were not chosen answer the latest questions of the ledger now, as far as a day's
        caps allow. That works where the ledger keeps answers (log="full").

        Args:
            limit: most questions.
            answers: ids of those that are meant; all by default.

        Returns:
            `questions` whose losers were run, `runs` that answered, `failed`, `stopped` ("" or which cap), and
            `left_out`: why -> how many.

        Raises:
            ConfigurationError: the limit can't be meant, nothing is logged, or tokens cost money without a limit.
            UnknownNameError: the ledger has no such answer.
        """
        from turnout.router.losers import Given

        if limit < 1:
            raise ConfigurationError(f"limit is {limit}", hint="give how many questions to measure, 1 or more")
        parts = self._opened()
        if parts.settings.log == "off":
            raise ConfigurationError("regret is measured of what the ledger keeps, and log is off", hint="set log=full")
        parts.check_regret()
        told: dict[str, Any] = {"questions": 0, "runs": 0, "failed": 0, "stopped": "", "left_out": {}}
        entries = parts.ledger.each() if answers is None else map(parts.ledger.get, answers)
        for entry in entries:
            if told["questions"] >= limit or told["stopped"]:
                break
            given = Given.recorded(entry)
            if entry.model != parts.engine.model.fingerprint or (given is not None and not self._waiting(given)):
                continue
            found = self._rebuilt(entry) if given is not None else GONE if entry.question is None else WITHOUT_TEXT
            if given is None or isinstance(found, str):
                told["left_out"][found] = told["left_out"].get(found, 0) + 1
                continue
            with self._in_turn() as stopped:
                self._run_losers(given, found, stopped, told)
        return told

    def _waiting(self, given: Given) -> list[Candidate]:
        """The losers of a question that were not run yet, the quickest first."""
        from turnout.router.losers import losers

        done = {each.strategy for each in self._opened().counterfactuals.of(given.id) if each.state != "given up"}
        return [candidate for candidate in losers(given.decision) if candidate.strategy not in done]

    def _rebuilt(self, entry: Entry) -> Request | str:
        """The request of an answer, or why it can't be had."""
        parts = self._opened()
        ids = parts.ledger.documents_of(entry.id)
        held = {document.id: document for document in parts.library.stored(ids)}
        if entry.question is None or not ids or set(held) != set(ids):
            return GONE
        infos = [DocumentInfo(id_, held[id_].title, held[id_].source) for id_ in ids]
        request = self._request(entry.question, self.read(infos), budget=None, strategy=None, history=())
        asked = request.question
        overhead = parts.engine.count(Context((), asked.text, asked.history, asked.task))
        if overhead != entry.record["decision"]["signals"]["overhead_tokens"]:
            return LED
        return request

    def _sample(self, request: Request, answer: Answer) -> None:
        """Has the losers of an answer run later, where it is drawn."""
        from turnout.router.losers import Given, losers

        share = self._opened().settings.regret
        if share and is_drawn(answer.id, share) and losers(answer.decision):
            given = Given.of(answer)
            self._background.offer(lambda stopped: self._run_losers(given, request, stopped, {}))

    def _run_losers(self, given: Given, request: Request, stopped: Callable[[], bool], told: dict[str, Any]) -> None:
        """Runs what was not run yet of a question's losers, the quickest first, as long as the caps allow."""
        from turnout.router import losers

        parts = self._opened()
        machinery, kept, caps = parts.machinery(), parts.counterfactuals, parts.regret_caps
        before = told.get("runs", 0)
        for candidate in self._waiting(given):
            if not losers.affordable(candidate, losers.left(kept, caps)):
                told["stopped"] = "what a day may take (regret_max_s, regret_max_cost) is used up"
                break
            answered = losers.run(given, candidate, request, machinery, kept, stopped) is not None
            name = "runs" if answered else "failed"
            told[name] = told.get(name, 0) + 1
        told["questions"] = told.get("questions", 0) + (told.get("runs", 0) > before)


def is_drawn(answer_id: str, share: float) -> bool:
    """Whether an answer is among so many of them: by its id, so that nothing else decides."""
    return int.from_bytes(hashlib.sha256(answer_id.encode()).digest()[:8]) < share * 2**64

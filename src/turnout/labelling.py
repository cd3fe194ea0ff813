"""Labelling a run: the answers on which two strategies disagree, side by side with what they cite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.errors import ConfigurationError, TurnoutError, UnknownNameError

if TYPE_CHECKING:
    from turnout.documents import Document
    from turnout.router.evaluation.labels import Pair


@dataclass(frozen=True, slots=True)
class Side:
    """One answer, with the quotes that it cites: "msa.pdf l.8: ..."."""

    answer: str
    abstained: bool
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be judged; "" is a question that the run did not keep."""

    question_id: str
    question: str
    first: Side
    second: Side


class Labelling:
    """The questions of a run that are to be labelled.

    Attributes:
        strategies: whose answers are compared.
        disagree: on how many questions they give other answers.
        labelled: how many of those have a verdict.
    """

    def __init__(self, folder: str | Path, strategies: Sequence[str] = ()) -> None:
        """Reads a run.

        Args:
            strategies: two; full and rag by default.

        Raises:
            ConfigurationError: the folder holds no run, or a damaged one, or not two strategies can be compared.
        """
        from turnout.router.evaluation import labels
        from turnout.router.evaluation.rows import read_run

        self._run = read_run(folder)
        self.strategies = labels.compared(self._run, strategies)
        pairs = labels.pairs(self._run, self.strategies)
        verdicts = labels.read(self._run.folder)
        self._open = {pair.question_id: pair for pair in pairs if not labels.is_labelled(pair, verdicts)}
        self.disagree, self.labelled = len(pairs), len(pairs) - len(self._open)

    def __iter__(self) -> Iterator[Shown]:
        """What has no verdict yet."""
        documents = _Documents(self._run.folder)
        for pair in list(self._open.values()):
            yield _shown(pair, documents)

    def keep(self, question_id: str, key: str) -> None:
        """Keeps a verdict: "1" for the first answer, "2" for the second, "both" or "none".

        Raises:
            UnknownNameError: another key, or a question that is not to be labelled.
            StoreError: the run's folder can't be written.
        """
        from turnout.router.evaluation import labels

        if key not in labels.RIGHT:
            raise UnknownNameError("verdict", key, labels.RIGHT)
        if question_id not in self._open:
            raise UnknownNameError("question to be labelled", question_id, self._open)
        labels.add(self._run.folder, self._open.pop(question_id).verdict(key))
        self.labelled += 1


class _Documents:
    """The documents of a run, as its index keeps them; none where that was deleted."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "index"

    def of(self, ids: Sequence[str]) -> dict[str, Document]:
        from turnout.config import Settings
        from turnout.database import Database
        from turnout.retrieval.library import Library

        settings = Settings.load(home=self._home, log="off", regret=0.0)
        if not settings.database.exists():
            return {}
        try:
            database = Database.at(settings)
        except TurnoutError as error:
            raise ConfigurationError(
                f"the run's documents can't be read: {error.message}", hint=error.hint or "delete its folder index"
            ) from error
        try:
            return {document.id: document for document in Library(database, self._home, None).stored(ids)}
        finally:
            database.close()


def _shown(pair: Pair, documents: _Documents) -> Shown:
    cited = [row.get("sources", []) for row in (pair.first, pair.second)]
    held = documents.of([source["doc_id"] for sources in cited for source in sources])
    first, second = (
        Side(row["answer"], row["abstained"], tuple(_quoted(source, held) for source in sources))
        for row, sources in zip((pair.first, pair.second), cited, strict=True)
    )
    return Shown(pair.question_id, pair.question, first, second)


def _quoted(source: Any, held: dict[str, Document]) -> str:
    document = held.get(source["doc_id"])
    if document is None:
        return "(the run's documents are gone)"
    quote = " ".join(document.text[source["start"] : source["end"]].split())
    return f'{document.place(source["start"])}: "{quote}"'

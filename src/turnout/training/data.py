"""Training data: passages with their sentences, and questions that name the sentences their answers stand in.

A folder holds two files. Of contexts.jsonl.gz (or .jsonl), a line is one passage:

    {"ctx_id": "c1", "dataset": "squadshifts", "title": "...", "text": "...", "sentences": [[0, 41], [42, 90]]}

and of examples.jsonl.gz one question:

    {"id": "e1", "ctx_id": "c1", "dataset": "squadshifts", "question": "...", "answers": ["..."],
     "answer_type": "extractive", "answer_sentences": [1], "fold": "train"}

`sentences` are [start, end) in characters of the text; `answer_type` is extractive, abstractive, choice, number,
list, long or unanswerable (then `answers` is []); `fold` is train or valid. A choice question may have `choices`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.router.evaluation.json_lines import SUFFIXES, BadRow, Malformed, objects, of_type, text, texts
from turnout.sentences import units

ANSWER_TYPES = ("extractive", "abstractive", "choice", "number", "list", "long", "unanswerable")
FOLDS = ("train", "valid")
SHOWN_FAULTS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with its sentences, as [start, end) in characters: those that a prompt numbers, see `turnout.sentences`.

    Attributes:
        first: of an excerpt, the index of its first sentence in the whole passage.
    """

    id: str
    dataset: str
    title: str
    text: str
    sentences: tuple[tuple[int, int], ...]
    first: int = 0

    def sentence(self, index: int) -> str:
        start, end = self.sentences[index]
        return self.text[start:end].strip()

    def inside(self, indices: Iterable[int]) -> tuple[int, ...]:
        """Which of the whole passage's sentences are in this excerpt, as indices of its own."""
        return tuple(index - self.first for index in indices if 0 <= index - self.first < len(self.sentences))


@dataclass(frozen=True, slots=True)
class Example:
    """A question over one passage; `evidence` are indices of the sentences that hold the answer."""

    id: str
    passage: str
    dataset: str
    question: str
    answers: tuple[str, ...]
    answer_type: str
    evidence: tuple[int, ...]
    fold: str
    choices: tuple[str, ...] = ()
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything of a folder."""

    passages: Mapping[str, Passage]
    examples: tuple[Example, ...]


def read(folder: Path, *, without: frozenset[str] = frozenset()) -> TrainingData:
    """Reads a folder of training data.

    Args:
        without: datasets to leave out.

    Raises:
        UnknownNameError: there is no such dataset to leave out.
        ConfigurationError: a file is missing, or lines are wrong (the first are named with file and line): data that
            is trained on is whole, or it is not used.
    """
    faults: list[Malformed] = []
    passages: dict[str, Passage] = {}
    for passage in _rows(_file(folder, "contexts"), partial(_passage, taken=passages), faults):
        passages[passage.id] = passage
    given = {identifier: passage.sentences for identifier, passage in passages.items()}
    examples: dict[str, Example] = {}
    for example in _rows(_file(folder, "examples"), partial(_example, taken=examples, passages=passages), faults):
        examples[example.id] = example
    if faults:
        shown = "\n".join(map(str, faults[:SHOWN_FAULTS]))
        more = f"\nand {len(faults) - SHOWN_FAULTS:,} more" if len(faults) > SHOWN_FAULTS else ""
        raise ConfigurationError(
            f"{folder} has {len(faults):,} wrong lines:\n{shown}{more}", hint="mend or remove them; see `turnout train`"
        )
    unknown = sorted(without - {example.dataset for example in examples.values()})
    if unknown:
        raise UnknownNameError("dataset", unknown[0], sorted({example.dataset for example in examples.values()}))
    passages = {i: _read_as_prompted(passage) for i, passage in passages.items() if passage.dataset not in without}
    kept = tuple(
        _as_prompted(example, given[example.passage], passages[example.passage])
        for example in examples.values()
        if example.dataset not in without
    )
    for fold in FOLDS:
        if not any(example.fold == fold for example in kept):
            raise ConfigurationError(
                f"{folder} has no example of the fold {fold!r}", hint='give some examples "fold": "valid"'
            )
    return TrainingData(passages, kept)


def _read_as_prompted(passage: Passage) -> Passage:
    return replace(passage, sentences=units(passage.text))


def _as_prompted(example: Example, given: Sequence[tuple[int, int]], passage: Passage) -> Example:
    """With its evidence as indices of the passage's sentences. Where the answer is a whole sentence of the data's, it
    was made for picking sentences: a long answer, not a short one."""
    sentences = {passage.text[slice(*given[index])].strip(" .") for index in example.evidence}
    picked = example.answer_type == "extractive" and sentences.issuperset(a.strip(" .") for a in example.answers)
    answer_type = "long" if picked else example.answer_type
    return replace(example, evidence=_mapped(example, given, passage), answer_type=answer_type)


def _mapped(example: Example, given: Sequence[tuple[int, int]], passage: Passage) -> tuple[int, ...]:
    """The evidence as indices of the passage's sentences: for each one of the data's, that which shares most of it and
    holds the answer, if one does."""
    answers = [answer.casefold().strip(" .") for answer in example.answers]

    def worth(index: int, start: int, end: int) -> tuple[bool, int]:
        low, high = passage.sentences[index]
        shared, said = min(high, end) - max(low, start), passage.sentence(index).casefold()
        return shared > 0 and any(answer in said for answer in answers), shared

    every = range(len(passage.sentences))
    found = (max(every, key=lambda i: worth(i, *given[index])) for index in example.evidence if every)
    return tuple(dict.fromkeys(found))


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 of both files."""
    return hashlib.sha256(b"".join(_file(folder, name).read_bytes() for name in ("contexts", "examples"))).hexdigest()


def _file(folder: Path, name: str) -> Path:
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise ConfigurationError(
        f"{folder} has no {name}.jsonl or {name}.jsonl.gz", hint="a folder of training data has contexts and examples"
    )


def _rows(file: Path, parse: Callable[[Mapping[str, Any], str], T], faults: list[Malformed]) -> Iterator[T]:
    for number, row in objects(file, faults.append):
        try:
            yield parse(row, f"{file}:{number}")
        except BadRow as error:
            faults.append(Malformed(str(file), number, str(error)))


def _passage(row: Mapping[str, Any], origin: str, taken: Mapping[str, Passage]) -> Passage:
    if text(row, "ctx_id") in taken:
        raise BadRow(f"ctx_id {row['ctx_id']!r} is already taken")
    whole = text(row, "text")
    sentences: list[tuple[int, int]] = []
    for place, span in enumerate(of_type(row, "sentences", list, [])):
        pair = isinstance(span, list) and len(span) == 2 and all(type(edge) is int for edge in span)
        if not pair or not 0 <= span[0] < span[1] <= len(whole):
            raise BadRow(f"sentences[{place}] is {span!r}, not [start, end) in a text of {len(whole):,} characters")
        if sentences and span[0] < sentences[-1][1]:
            raise BadRow(f"sentences[{place}] begins at {span[0]:,}, before the end of the one before")
        sentences.append((span[0], span[1]))
    return Passage(text(row, "ctx_id"), text(row, "dataset"), text(row, "title", "untitled"), whole, tuple(sentences))


def _example(
    row: Mapping[str, Any], origin: str, taken: Mapping[str, Example], passages: Mapping[str, Passage]
) -> Example:
    if text(row, "id") in taken:
        raise BadRow(f"id {row['id']!r} is already taken by {taken[row['id']].origin}")
    answer_type = text(row, "answer_type")
    if answer_type not in ANSWER_TYPES:
        raise BadRow(f"unknown answer_type {answer_type!r}; known: {', '.join(ANSWER_TYPES)}")
    answers = texts(row, "answers") or ()
    if bool(answers) == (answer_type == "unanswerable"):
        raise BadRow(f"answer_type is {answer_type}, but there are {len(answers)} answers")
    fold = text(row, "fold")
    if fold not in FOLDS:
        raise BadRow(f"unknown fold {fold!r}; known: {', '.join(FOLDS)}")
    evidence = of_type(row, "answer_sentences", list, [])
    if not all(type(index) is int for index in evidence):
        raise BadRow(f"answer_sentences is {evidence!r}, not a list of whole numbers")
    passage = passages.get(text(row, "ctx_id"))
    if passage is None:
        raise BadRow(f"there is no context {row['ctx_id']!r}")
    if passage.dataset != text(row, "dataset"):
        raise BadRow(f"dataset is {row['dataset']!r}, and that of its context {passage.dataset!r}")
    beyond = [index for index in evidence if not 0 <= index < len(passage.sentences)]
    if beyond:
        raise BadRow(f"answer_sentences names {beyond[0]}, but {passage.id!r} has {len(passage.sentences)} sentences")
    return Example(
        text(row, "id"),
        passage.id,
        text(row, "dataset"),
        text(row, "question"),
        answers,
        answer_type,
        tuple(evidence),
        fold,
        texts(row, "choices") or (),
        origin,
    )

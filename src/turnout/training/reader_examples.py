"""Lessons for a reader: what it is asked, and what it is to answer, with evidence.

An answer is a line `Evidence: ` with the number of each sentence that it rests on (`turnout.router.citations` finds
it), before or after the answer itself, which is as short as the data has it; where the text does not hold it, the
refusal sentence alone.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from turnout.engines.adapter import NUMBERED
from turnout.router.citations import EVIDENCE_LABEL, MIN_QUOTE
from turnout.router.words import content_words
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.recipe import Evidence
from turnout.types import Context

LONGEST_QUOTE = 300
"""Characters of a whole sentence as evidence; of a longer one, the part around the answer."""

OPTION_SHARE = 0.1
"""Share of a dataset's choice questions that must have an answer before it counts as an option: what fewer have are
slips of the pen."""

FEWEST_WRONG, MOST_WRONG = 2, 3
"""Wrong options of a question that is asked as a choice."""

MOST_EVIDENCE = 2
"""Sentences that an answer gives as evidence at most."""

LONGEST_ANSWER = 160
"""Characters of an extractive answer."""

NOT_FOR_ANSWERS = frozenset({"long"})
"""Answer types that are left out: whole passages as answers teach to copy, not to answer."""

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Lesson:
    """One thing to learn: a context with its question, and the answer.

    Attributes:
        evidence: the sentences of the context that hold the answer.
        numbers: what those are numbered with in the context, if its sentences are.
        kind: how the context was made: alone, among, long; "left out" where it lacks the example's passage, "twisted"
            where the question was bent.
    """

    context: Context
    answer: str
    example: Example
    evidence: tuple[str, ...]
    kind: str
    numbers: tuple[int, ...] = ()


def used(data: TrainingData, fold: str) -> list[Example]:
    """The examples of a fold that a reader learns from."""
    choices = options(data)
    return [e for e in data.examples if e.fold == fold and _is_used(e, choices)]


def question(example: Example, choices: Mapping[str, tuple[str, ...]]) -> str:
    """The question as it is asked: options follow as lettered lines."""
    listed = (example.choices or choices.get(example.dataset, ())) if example.answer_type == "choice" else ()
    return "\n".join([example.question, *(f"{chr(65 + i)}. {option}" for i, option in enumerate(listed))])


def preferred(answers: Sequence[str]) -> str:
    """The answer that most annotators gave, the shortest of those."""
    counts = Counter(answer.casefold().strip(" .") for answer in answers)
    return min(answers, key=lambda answer: (-counts[answer.casefold().strip(" .")], len(answer))).strip()


def evidence_line(sentence: str, answer: str) -> str:
    """`Evidence: ` and the sentence, blanks made one; of a sentence too long to copy, words around the answer. Empty
    where that is too short to be found again."""
    words = _SPACE.sub(" ", sentence).strip()
    if len(words) > LONGEST_QUOTE:
        place = max(words.casefold().find(answer.casefold()), 0)
        start = max(0, min(place + len(answer) // 2 - LONGEST_QUOTE // 2, len(words) - LONGEST_QUOTE))
        end = start + LONGEST_QUOTE
        cut = words[start:end]
        words = cut[cut.find(" ") + 1 if start else 0 : cut.rfind(" ") if end < len(words) else None]
    return EVIDENCE_LABEL + words if len(words) >= MIN_QUOTE else ""


def grounded(
    example: Example, gold: Passage, evidence: Sequence[int], form: Evidence, numbers: Sequence[int] = ()
) -> str:
    """What is to be answered where the text holds it: a line for each evidence sentence, and the answer.

    Args:
        evidence: indices of the sentences in their passage; `numbers`, what they are numbered with in the prompt.
    """
    answer = preferred(example.answers)
    lines: list[str] = []
    if form in NUMBERED:
        lines = [f"{EVIDENCE_LABEL}[{number}]" for number in numbers[:MOST_EVIDENCE]]
    elif form == "sentence":
        lines = [evidence_line(gold.sentence(index), answer) for index in evidence[:MOST_EVIDENCE]]
    lines = list(filter(None, lines))
    return "\n".join([answer, *lines] if form == "after" else [*lines, answer])


def best_first(example: Example, passage: Passage) -> tuple[int, ...]:
    """The evidence, first the sentence that holds the answer, or most of its words; then the question's."""
    answer = preferred(example.answers) if example.answers else ""
    wanted, asked = content_words(answer), content_words(example.question)

    def score(index: int) -> tuple[bool, int, int]:
        sentence = passage.sentence(index)
        words = content_words(sentence)
        return answer.casefold() in sentence.casefold(), len(words & wanted), len(words & asked)

    best = max(example.evidence, key=score, default=None)
    return () if best is None else (best, *(index for index in example.evidence if index != best))


def _is_used(example: Example, choices: Mapping[str, tuple[str, ...]]) -> bool:
    """Leaves out what would teach long answers, and choice questions whose answer is no option."""
    if example.answer_type in NOT_FOR_ANSWERS:
        return False
    if example.answer_type == "choice":
        return example.answers[0] in (example.choices or choices[example.dataset])
    if example.answer_type != "extractive":
        return True
    return len(preferred(example.answers)) <= LONGEST_ANSWER


def as_choice(example: Example, alike: Iterable[Example], draw: random.Random) -> Example:
    """The question with options: its answer among those of other short questions over the same passage; as it is where
    there are too few."""
    answer = preferred(example.answers)
    right = [given.casefold() for given in example.answers]
    others = {
        preferred(other.answers).casefold(): preferred(other.answers)
        for other in alike
        if other.answer_type == "extractive"
    }
    # An option inside a right one, or around it, would be right too, in part.
    wrong = [said for folded, said in others.items() if not any(folded in one or one in folded for one in right)]
    if len(wrong) < FEWEST_WRONG:
        return example
    shown = [answer, *draw.sample(wrong, min(len(wrong), MOST_WRONG))]
    draw.shuffle(shown)
    return replace(example, answers=(answer,), choices=tuple(shown), answer_type="choice")


def options(data: TrainingData) -> dict[str, tuple[str, ...]]:
    """The options of a dataset whose choice questions list none: every answer that enough of them have."""
    found: dict[str, Counter[str]] = {}
    for example in data.examples:
        if example.answer_type == "choice" and not example.choices:
            found.setdefault(example.dataset, Counter())[example.answers[0]] += 1
    return {
        dataset: tuple(sorted(answer for answer, count in counts.items() if count >= OPTION_SHARE * counts.total()))
        for dataset, counts in found.items()
    }

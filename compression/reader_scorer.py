"""The reader itself says of each sentence whether it helps to answer (the formulation of EXIT, arXiv 2412.12559).

The passage is read once, and every sentence is a branch of its own after it, where the published code reads the passage
anew for each. Sentences are judged in their passage alone, as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from turnout.compression.selection import THRESHOLD, PassageScores
from turnout.compression.units import BY_RULES, Cuts
from turnout.contracts import Weighs
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.contracts import UnitScorer

ANSWERS = ("Yes", "No")
VERSION = "1"
"""Of the wording and of how texts are cut; part of the fingerprint."""

LONGEST = 600
"""Characters of a unit that are repeated in its question; the whole of it stands in the passage."""


class ByReader:
    """A unit's score is the share of "Yes". It costs a step of about 50 tokens a sentence, and no other model."""

    name = "exit"
    threshold = THRESHOLD

    def __init__(self, engine: Weighs, cuts: Cuts = BY_RULES) -> None:
        self._engine, self._cuts = engine, cuts

    @property
    def fingerprint(self) -> str:
        return f"exit/{VERSION}/{self._engine.model.fingerprint}"

    def score(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> Iterator[PassageScores]:
        """See `UnitScorer.score`; a passage is as relevant as its best sentence.

        Raises:
            EngineError: see `Weighs.weigh`.
        """
        watch = watch or Watch()
        for text in passages:
            yield self._of(question, text, watch)

    def _of(self, question: str, text: str, watch: Watch) -> PassageScores:
        units = self._cuts(text)
        asked = [number for number, unit in enumerate(units) if not unit.level]
        questions = [_asked(question, text[units[i].start : units[i].end]) for i in asked]
        shares = self._engine.weigh(text, questions, ANSWERS, watch) if questions else []
        scores = [0.0] * len(units)
        for number, (yes, _) in zip(asked, shares, strict=True):
            scores[number] = yes
        return PassageScores(max(scores, default=0.0), units, tuple(scores))


def _asked(question: str, sentence: str) -> str:
    shown = sentence if len(sentence) <= LONGEST else f"{sentence[:LONGEST]}..."
    return (
        f"Question: {question}\n"
        f'Sentence of the text above: "{shown}"\n'
        f"Is this sentence needed to answer the question? Reply with {ANSWERS[0]} or {ANSWERS[1]}."
    )


if TYPE_CHECKING:
    _: type[UnitScorer] = ByReader

"""Questions bent so that their text no longer answers them: another year, number or name, or the opposite of a word.

They look as if the text held the answer, which questions about another text do not. The kinds are among those by which
people wrote unanswerable questions for SQuAD 2.0 (arXiv 1806.03822, table 2): swapped entities and opposites.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

_YEAR = re.compile(r"\b(?:1[0-9]|20)\d\d\b")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?![\w.,]*\d)")
_NAME = re.compile(r"(?<![.?!:\"“] )(?<!^)\b[A-Z][\w'’-]+(?: (?:of |the |de |von )*[A-Z][\w'’-]+)*")

OPPOSITES = (
    ("the first", "the last"), ("the most", "the least"), ("the largest", "the smallest"), ("before", "after"),
    ("the highest", "the lowest"), ("the oldest", "the youngest"), ("more than", "less than"), ("north", "south"),
    ("northern", "southern"), ("east", "west"), ("eastern", "western"), ("increase", "decrease"), ("won", "lost"),
    ("increased", "decreased"), ("began", "ended"), ("started", "stopped"), ("win", "lose"), ("early", "late"),
    ("the earliest", "the latest"), ("male", "female"), ("men", "women"), ("father", "mother"), ("son", "daughter"),
    ("brother", "sister"), ("the best", "the worst"), ("above", "below"), ("maximum", "minimum"),
    ("public", "private"), ("major", "minor"), ("allowed", "forbidden"), ("supported", "opposed"),
    ("accepted", "rejected"), ("opened", "closed"), ("positive", "negative"),
)  # fmt: skip
ALIKE = 4
"""Letters by which two words count as one name."""

_OPPOSITE = {one: other for pair in OPPOSITES for one, other in (pair, pair[::-1])}
_WORDS = re.compile(rf"\b(?:{'|'.join(_OPPOSITE)})\b")


def twisted(question: str, text: str, names: Sequence[str], draw: random.Random) -> str | None:
    """The question with one thing changed that the text does not say; None where nothing can be changed.

    Args:
        text: what it was asked over.
        names: that may take the place of one in the question.
    """
    ways: list[Callable[[], str | None]] = [
        lambda: _other_name(question, names, draw),
        lambda: _other_number(question, text, draw),
        lambda: _opposite(question, text, draw),
    ]
    draw.shuffle(ways)
    return next((bent for way in ways if (bent := way())), None)


def names_in(text: str) -> Iterator[str]:
    """Runs of capitalised words that do not begin a sentence."""
    for found in _NAME.finditer(text):
        yield found[0]


def _other_name(question: str, names: Sequence[str], draw: random.Random) -> str | None:
    said = [found for found in _NAME.finditer(question) if found.start()]
    folded = question.casefold()
    # Names that share their beginnings are mostly two spellings of one.
    begun = {word[:ALIKE] for word in folded.split()}
    others = [name for name in names if not any(word[:ALIKE] in begun for word in name.casefold().split())]
    if not said or not others:
        return None
    at, other = draw.choice(said), draw.choice(others)
    return question[: at.start()] + other + question[at.end() :]


def _other_number(question: str, text: str, draw: random.Random) -> str | None:
    said = [*_YEAR.finditer(question)] or [*_NUMBER.finditer(question)]
    if not said:
        return None
    at = draw.choice(said)
    number = int(at[0])
    near = [number + step for step in range(-30, 31) if step and number + step > 0]
    others = [other for other in near if str(other) not in text]
    return question[: at.start()] + str(draw.choice(others)) + question[at.end() :] if others else None


def _opposite(question: str, text: str, draw: random.Random) -> str | None:
    folded = text.casefold()
    said = [found for found in _WORDS.finditer(question) if _OPPOSITE[found[0]] not in folded]
    if not said:
        return None
    at = draw.choice(said)
    return question[: at.start()] + _OPPOSITE[at[0]] + question[at.end() :]

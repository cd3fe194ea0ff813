"""Grading of short answers by rule: which numbers or which buyer an answer names, and that it names nothing else.

Only what the model says is graded, not the lines `Quote: "..."` that some prompts ask for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from turnout.router.calibration.tasks import BUYERS, Kind
from turnout.router.citations import split_quotes


def grade(text: str, kind: Kind, expected: Sequence[str], beside: Sequence[str]) -> tuple[bool, float]:
    """(right, share): whether all is right, and the mean share of the things asked that are named in the right place.

    One number is asked: it is named and no other is. An aggregation may name the values that it adds up besides.
    Several: they stand in the order asked, or each with its buyer; numbers over those asked lower the share.
    Comparison: the clauses that name one buyer agree on the right one. "Fewer" turns a clause round, and a clause with
    a negation counts for nobody: "not the doctor" is no answer.

    Args:
        text: what the model wrote.
        expected: see `tasks.Asked`, as `beside`.
    """
    answer = split_quotes(text)[0].lower()
    if kind == "multi":
        share = _share_in_place(answer, expected, beside)
        return share == 1, share
    if kind == "comparison":
        right = _more(answer, (expected[0], beside[0])) == {expected[0]}
    else:
        named = set(numbers(answer))
        right = expected[0] in named and named <= {expected[0], *beside}
    return right, float(right)


_BUYER = {word: pair[0] for pair in BUYERS for word in pair}
"""Either word for a buyer -> the fact's word."""


def _share_in_place(answer: str, expected: Sequence[str], buyers: Sequence[str]) -> float:
    events = [_BUYER.get(word, word) for word in _words(answer) if word in _BUYER or _is_number(word)]
    claims = _claims(events, buyers)
    hits = sum(
        {value for who, value in claims if who == buyer} == {wanted}
        for buyer, wanted in zip(buyers, expected, strict=True)
    )
    return hits / max(len(expected), len(claims))


def _claims(events: Sequence[str], buyers: Sequence[str]) -> set[tuple[str, str]]:
    """(buyer, number) pairs of an answer's buyers and numbers in order; "" where a number has no buyer."""
    values = [event for event in events if _is_number(event)]
    names = [event for event in events if not _is_number(event)]
    if not names:
        return {(buyers[i] if i < len(buyers) else "", value) for i, value in enumerate(values)}
    if len(names) == len(values):  # "A 3, B 4", "3 by A, 4 by B" and "A and B: 3 and 4"
        return set(zip(names, values, strict=True))
    # A number belongs to the name beside it: the one before it where the answer begins with a name.
    ordered = events[::-1] if _is_number(events[0]) else events
    return {("" if _is_number(name) else name, value) for name, value in pairwise(ordered) if _is_number(value)}


_CLAUSE_END = re.compile(r"[.,;:!?()\n]|\b(?:but|while|whereas)\b")
_RIVAL = re.compile(r"\b(?:than|compared)\b")
_LESS = frozenset({"fewer", "less", "fewest", "least"})
_NEGATIONS = frozenset({"not", "no", "nor", "neither", "never", "none", "cannot", "t"})
"""With the "t" that is left of "didn't"."""


def _more(answer: str, pair: tuple[str, str]) -> set[str]:
    """The buyers that an answer's clauses say bought more."""
    turned = {pair[0]: pair[1], pair[1]: pair[0]}
    said: list[str] = []
    for clause in _CLAUSE_END.split(answer):
        subject = set(_words(_RIVAL.split(clause)[0]))
        names = {_BUYER[word] for word in subject & _BUYER.keys()}
        if subject & _NEGATIONS or len(names) > 1:
            continue
        less = not subject.isdisjoint(_LESS)
        if names:
            name = names.pop()
            said.append(turned.get(name, name) if less else name)
        elif less and said:  # "the doctor bought 3, fewer than the lawyer"
            said[-1] = turned.get(said[-1], said[-1])
    return set(said)


_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_LARGE = {"hundred": "100", "thousand": "1000"}
_WORD = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|[^\W\d_]+")


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, as figures; number words up to ninety-nine are read too. "One" alone is not: it
    is mostly a pronoun, and nobody buys one."""
    return [word for word in _words(text.lower()) if _is_number(word)]


def _is_number(word: str) -> bool:
    return word[0].isdigit()


def _words(text: str) -> list[str]:
    """Words and numbers of a text in lower case; number words become figures."""
    found: list[str] = []
    before = ""
    for word in _WORD.findall(text):
        if word in _UNITS:
            unit = _UNITS.index(word)
            if before in _TENS and 0 < unit < 10:
                found[-1] = str(int(found[-1]) + unit)
            elif word != "one":
                found.append(str(unit))
        elif word in _TENS:
            found.append(str(20 + 10 * _TENS.index(word)))
        else:
            found.append(_LARGE.get(word, word.replace(",", "")))
        before = word
    return found

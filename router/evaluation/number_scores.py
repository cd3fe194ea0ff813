"""Numbers in text, and whether two of them are the same.

What is read: currency signs and thousands separators are left out; "-5", "(5)" as in accounts, "minus 5" and
"negative 5" are below zero (a word such as "decrease" is not read); a scale is a word (thousand, million, billion,
trillion, percent) or an ending (K, M, mn, B, bn, T, tn, %). The day of a date, "10-K", "2nd", "1990s" and "Q3" are no
numbers. Zero to twenty in words count where there are no digits.

A four-digit number from 1500 to 2099 without currency, separator, sign or scale is taken for a year.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.router.evaluation.text_scores import exact_match

TOLERANCE = 0.01
"""Largest difference that still matches, relative to the accepted answer."""

_FACTORS = {"th": 1e3, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12, "p": 0.01, "%": 0.01}
"""Factor of a scale by how it begins, the first that fits."""

_CURRENCY = r"(?:(?:US|A|C|HK)?[$€£¥₹]|\b(?:USD|EUR|GBP|JPY|CHF|CNY|RMB|INR)(?![A-Za-z]))\s*"
_PERCENT = r"%|per\s?cent(?:age\s+points?)?|pct"
_SCALE = rf"(?:[\s-]*(?:{_PERCENT}|(?:thousand|million|billion|trillion)s?|mn|bn|tn)|(?-i:[KkMmBbT]))(?![A-Za-z0-9])"
_UNIT = r"(?!(?:st|nd|rd|th|s)\b)[a-zµ°]{1,3}(?!\w)"
_NUMBER = re.compile(
    rf"(?<![\w.])(?:{_CURRENCY})?(?P<open>\(\s*)?(?:{_CURRENCY})?"
    rf"(?P<sign>(?<![%)])[-−–]|(?:minus|negative)\s+)?(?:{_CURRENCY})?"
    # Atomic: no part of "1.25GHz" may be read as a number.
    r"(?P<digits>(?>\d{1,3}(?:[,'’\u00a0\u2009\u202f]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+))"
    rf"(?:(?P<scale>{_SCALE})|(?-i:{_UNIT})|(?!\w|-[A-Za-z]))"
    rf"(?P<close>\s*\)(?P<scale_after>{_SCALE})?)?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_DAY = re.compile(
    rf"(?P<month>\b{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?(?!\w|[.,]\d)"
    rf"|(?<![\w.,])\d{{1,2}}(?:st|nd|rd|th)?\s+(?=(?:of\s+)?{_MONTH})"
)
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
_IN_WORDS = {word: float(value) for value, word in enumerate(_COUNTING.split())}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it stands in a text: `value` before its scale, `factor` of the scale (None without one)."""

    value: float
    factor: float | None = None
    is_year: bool = False

    @property
    def in_full(self) -> float:
        """The value times its scale: 5 million is 5,000,000 and 5% is 0.05."""
        return self.value if self.factor is None else self.value * self.factor


def numbers(text: str) -> list[Number]:
    """The numbers in a text, in order."""
    text = _DAY.sub(lambda match: match["month"] or "", text)
    found = [_number(match) for match in _NUMBER.finditer(text)]
    return found or [Number(_IN_WORDS[word]) for word in re.findall(r"\w+", text.lower()) if word in _IN_WORDS]


def is_number(text: str) -> bool:
    """Whether the text is one number and nothing else."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _number(match: re.Match[str]) -> Number:
    scale = (match["scale"] or match["scale_after"] or "").strip(" \t\n-").lower()
    bare = match[0].strip("() \n") == match["digits"] and not scale
    is_year = bare and _YEAR.fullmatch(match["digits"]) is not None
    below_zero = match["sign"] is not None or (match["open"] is not None and match["close"] is not None and not is_year)
    value = float(re.sub(r"[^\d.]", "", match["digits"]))
    factor = next((factor for start, factor in _FACTORS.items() if scale.startswith(start)), None)
    return Number(-value if below_zero else value, factor, is_year)


def same_number(predicted: Number, gold: Number) -> bool:
    """Whether a predicted number is the accepted one.

    With a scale on both sides the values in full are compared. With a scale on one side only it may be left out, or the
    number may be written in full: for "27,727 thousand" also 27,727 and 27,727,000 match, and 27,727 million does not.
    Within TOLERANCE, but a year must be equal.
    """
    if gold.is_year:
        return predicted.in_full == gold.value
    if _near(predicted.in_full, gold.in_full):
        return True
    return (predicted.factor is None or gold.factor is None) and _near(predicted.value, gold.value)


def _near(value: float, gold: float) -> bool:
    return abs(value - gold) <= TOLERANCE * abs(gold) * (1 + 1e-9)


def number_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the number that the prediction gives is an accepted one, else 0.

    Of several numbers one counts: after the last "=" or "≈" if numbers follow it, and there the first; years are passed
    over unless the answer is a year, and then the other numbers are. Where an answer has a scale ("27,727 thousand"),
    the same number without it ("27,727") adds nothing: the scale may be left out anyway, but must not be another one.
    An answer without a number must be matched word by word.
    """
    gold = {answer: numbers(answer)[:1] for answer in answers}
    scaled = {number.value for found in gold.values() for number in found if number.factor is not None}
    for answer, found in gold.items():
        if not found:
            if exact_match(prediction, [answer]):
                return 1.0
            continue
        number = found[0]
        if number.factor is None and number.value in scaled:
            continue
        given = _given(prediction, number.is_year)
        if given is not None and same_number(given, number):
            return 1.0
    return 0.0


def _given(prediction: str, wants_year: bool) -> Number | None:
    result = re.split("[=≈]", prediction)[-1]
    found = numbers(result) or numbers(prediction)
    return next((number for number in found if number.is_year == wants_year), found[0] if found else None)

"""Is the answer in the text? When it is not, the outcome is an abstention with the nearest passage beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from turnout.engines.prompt import REFUSAL
from turnout.router.words import content_words
from turnout.types import Part

_TEXT = r"(?:the|this|these) (?:\w+ )?(?:text|document|passage|context|excerpt)s?"
_STATES = r"(?:mention|state|say|provide|contain|specify|give|include|answer|discuss|indicate)"
_REFUSAL = re.compile(
    r"^\W*(?:(?:sorry|unfortunately)\W+)?(?:"
    rf"not (?:in|(?:stated|mentioned|given|specified|provided|found) in) {_TEXT}"
    r"|(?:the |this )?(?:answer|information) (?:is |was )?(?:not|cannot be|can't be) "
    rf"|{_TEXT} (?:does|do) not (?:explicitly |directly )?{_STATES}"
    rf"|{_TEXT} doesn['’]t (?:explicitly |directly )?{_STATES}"
    r"|there is no (?:mention|information|answer)"
    r"|(?:i )?(?:can ?not|can['’]t|don['’]t|do not|am unable to) (?:find|answer|know|determine)"
    r"|unanswerable\b)",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"^\W*(?:yes|no|true|false)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d.,]*")


def is_refusal(text: str) -> bool:
    """The model says that the text does not hold the answer, in its own words or in ours."""
    return not text.strip() or _REFUSAL.match(text) is not None


def may_become_refusal(text: str) -> bool:
    """The text so far could still grow into the refusal sentence: hold it back instead of showing and retracting it."""
    start = text.lstrip().lower()
    return REFUSAL.lower().startswith(start)


def is_grounded(answer: str, question: str, task: str, parts: Sequence[Part]) -> bool:
    """What was read bears the answer, by a check that only fails what is plainly made up.

    For questions that ask for one place: a number that the answer gives must stand in the text, and at least one
    content word beyond the question's own must. Answers that are reasoned, compared or summarised use words of their
    own and pass; so does yes or no.
    """
    if task != "location" or _YES_NO.match(answer):
        return True
    read = " ".join(part.text for part in parts)
    numbers = {number.strip(".,") for number in _NUMBER.findall(answer)} - set(_NUMBER.findall(question))
    if numbers and not any(number in read for number in numbers):
        return False
    new = content_words(answer) - content_words(question)
    return not new or bool(new & content_words(read))

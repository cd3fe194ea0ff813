"""Is the answer in the text? When it is not, the outcome is an abstention with the nearest passage beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from turnout.engines.prompt import REFUSAL
from turnout.router.options import listed, named
from turnout.router.words import content_words
from turnout.types import Part, Question

_TEXT = r"(?:the|this|these) (?:\w+ )?(?:text|document|passage|context|excerpt)s?"
_NOT = r"(?:does|do|did)(?: not|n['’]t) (?:explicitly |directly |specifically )?"
_TOLD = r"(?:given|stated|mentioned|specified|provided|available|found|included|contained|in)"
_NOTHING = r"(?:(?:any|an|the|this|that|enough|sufficient) ){0,4}(?:information|answer|details?|mention|data)"
_REFUSAL = re.compile(
    r"^\W*(?:(?:sorry|unfortunately)\W+)?(?:"
    rf"not (?:in|{_TOLD} in) {_TEXT}"
    rf"|(?:the |this )?(?:answer|information|question) (?:(?:is|was) not {_TOLD}|can(?: ?not|['’]t) be )"
    rf"|{_TEXT} {_NOT}(?:mention|state|say|specify|indicate|discuss|answer)\b"
    rf"|{_TEXT} {_NOT}(?:provide|contain|give|include|hold) (?:{_NOTHING}|this|that|it)\b"
    r"|there is no (?:mention|information|answer)\b"
    r"|i (?:can ?not|can['’]t|could not|am unable to|do not|don['’]t) (?:find|answer|know|determine)\b"
    r"|unanswerable\b)",
    re.IGNORECASE,
)
_REFUSAL_WORDS = 16
"""More words than the longest match of _REFUSAL has: what begins with so many others is none."""

_IN_OWN_WORDS = ("reasoning", "comparison", "summarisation")
_YES_NO = re.compile(r"^\W*(?:yes|no|true|false)\b", re.IGNORECASE)
_HOLDS_ITS_ANSWERS = re.compile(
    r"^\W*(?:is|are|was|were|am|do|does|did|can|could|has|have|had|will|would|should|shall|may|must)\b"
    r"|\bor\b|\bwhich of\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
_WORD = re.compile(r"\w+")


def is_answer(text: str, question: Question, parts: Sequence[Part], quoted: Iterable[str] = ()) -> bool:
    """An answer, and not an abstention: it names one of the options that the question lists, or it neither refuses
    nor is plainly made up.

    Args:
        quoted: sentences of the text that it was given with. What is copied from one of them refuses nothing, even
            where the text itself is about something that is "not in the text".
    """
    options = listed(question.text)
    if options and len(named(text, options)) == 1:
        return True
    if is_refusal(text):
        return any(_copied(text, sentence) for sentence in quoted)
    return is_grounded(text, question.text, question.task, parts)


def _copied(text: str, sentence: str) -> bool:
    words, whole = (" ".join(_WORD.findall(said.casefold())) for said in (text, sentence))
    return bool(words) and f" {words} " in f" {whole} "


def is_refusal(text: str) -> bool:
    """The model says that the text does not hold the answer, in its own words or in ours."""
    return not text.strip() or _REFUSAL.match(text) is not None


def may_become_refusal(text: str) -> bool:
    """The text so far could still grow into the refusal sentence: hold it back instead of showing and retracting it."""
    start = text.lstrip().lower()
    return REFUSAL.lower().startswith(start)


def is_settled(text: str, question: Question) -> bool:
    """Whatever follows, an answer that begins so is not taken for an abstention."""
    return question.task in _IN_OWN_WORDS and len(_WORD.findall(text)) > _REFUSAL_WORDS and not is_refusal(text)


def is_grounded(answer: str, question: str, task: str, parts: Sequence[Part]) -> bool:
    """What was read can bear the answer, by a check that only fails what is plainly made up.

    For questions that ask for one place: of the numbers that the answer gives, one must stand in the text, and of its
    content words beyond the question's own, one must. An answer that only repeats the question says nothing, unless
    the question holds its answers (is it allowed? A or B?). Answers that are reasoned, compared or summarised use
    words of their own and pass; so does yes or no.
    """
    if task in _IN_OWN_WORDS or _YES_NO.match(answer):
        return True
    read = " ".join(part.text for part in parts)
    numbers = _numbers(answer) - _numbers(question)
    if numbers and not numbers & _numbers(read):
        return False
    new = content_words(answer) - content_words(question)
    if not new and not numbers:
        return _HOLDS_ITS_ANSWERS.search(question) is not None
    return bool(numbers) or bool(new & content_words(read))


def _numbers(text: str) -> set[str]:
    """Numbers in one form: 1,200 and 1200 are one, three and 3 are one."""
    digits = {number.replace(",", "") for number in _NUMBER.findall(text)}
    words = set(map(str.lower, _WORD.findall(text)))
    return digits | {str(value) for value, word in enumerate(_COUNTING.split()) if word in words}

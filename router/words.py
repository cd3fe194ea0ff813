"""Content words: what is left of a text for comparing it with another, without grammar and endings."""

from __future__ import annotations

import functools
import re

import Stemmer

_WORD = re.compile(r"[^\W_]+(?:[.,'’][^\W_]+)*")
_STOP = frozenset(
    """
    a an and any are as at be been but by can could did do does for from had has have he her his how i if in into is it
    its just like many may might more most much my no not of on or our over own she should so some such than that the
    their them then there these they this those through to under until up upon very was we were what when where which
    while who whom whose why will with would you your about after all also before between both during each other only
    same according text document passage answer question mentioned mention name list describe give given tell say says
    """.split()  # noqa: SIM905 - one word a line would be three screens
)


@functools.cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


def content_words(text: str) -> frozenset[str]:
    """Lower-cased, stemmed words and numbers, without function words and thousands separators."""
    words = [word.replace(",", "") for word in map(str.lower, _WORD.findall(text)) if word not in _STOP]
    return frozenset(_stemmer().stemWords(words))

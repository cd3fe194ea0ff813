"""The options that a question lists, and which of them an answer names, in full or by letter.

The texts are read first, the longest first, and what an option's text covers names nothing else: "not mentioned" does
not name "mentioned", and an "A" inside an option is no letter. Case, punctuation and an article in front don't count.
In what is left, a letter names an option where it stands as an answer does: alone ("B", "(b)"), at the start of a line
before a mark ("B. Paris"), after a word such as "answer" ("The answer is B.") or bracketed at the end ("Paris (B)").
The article of "A man went" is none of these.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence

_LETTER = r"[(\[\"'“]?\b[A-Za-z]\b[)\]\"'”]?"
_JOIN = r"\s*(?:,\s*(?:and\b|or\b)?|/|&|\band\b|\bor\b)\s*"
# Atomic: of "A, B and C agree" no part may count for itself.
_LETTERS = rf"(?>(?P<letters>{_LETTER}(?:{_JOIN}{_LETTER})*))"
_END = r"(?:(?<=[)\]])|(?=\s*$|\s*[,;:!?)\]]|\s*\.(?!\w)|\s+[-–—]|\s+(?:because|since|as|is|was)\b))"
_BY_LETTER = (
    re.compile(rf"\A\W*(?:both\s+|either\s+)?{_LETTERS}\W*\Z", re.IGNORECASE),
    re.compile(rf"^[^\w(\[\"'“]*{_LETTERS}{_END}", re.MULTILINE),
    re.compile(
        r"\b(?:answer|option|choice|letter)s?\b(?:\s+(?:is|are|was|(?:would|must|should) be))?[\s:=]*"
        rf"{_LETTERS}{_END}",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(r"\((?P<letters>[A-Z])\)\W*\Z"),
)
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.)][ \t]+(\S.*)$", re.MULTILINE)
_SINGLE = re.compile(r"\b[A-Za-z]\b")
_COVERED = " _ "  # a word character, so that a letter beside it does not stand alone


def listed(question: str) -> tuple[str, ...]:
    """The options below a question: lines "A. ...", "B) ..." from A on, at least two; none where there are no such
    lines."""
    lines = _OPTION.findall(question)
    letters = [letter for letter, _ in lines]
    in_order = letters == list(string.ascii_uppercase[: len(letters)])
    return tuple(text.strip() for _, text in lines) if len(lines) > 1 and in_order else ()


def named(answer: str, choices: Sequence[str]) -> set[int]:
    """Places of the options that an answer names.

    Args:
        choices: the options as the model saw them, after "A.", "B." and so on; without letters of their own.
    """
    found = set()
    rest = re.sub(r"[*`]", "", answer)
    for index, pattern in _patterns(choices):
        rest, count = pattern.subn(_COVERED, rest)
        if count:
            found.add(index)
    by_letter = dict(zip(string.ascii_uppercase, range(len(choices)), strict=False))
    for pattern in _BY_LETTER:
        for match in pattern.finditer(rest):
            letters = (letter.upper() for letter in _SINGLE.findall(match["letters"]))
            found.update(by_letter[letter] for letter in letters if letter in by_letter)
    return found


def _patterns(choices: Sequence[str]) -> Iterator[tuple[int, re.Pattern[str]]]:
    """(option's index, pattern that finds its text), the longest text first."""
    texts = [_words(choice) for choice in choices]
    same = Counter(texts)
    for index in sorted(range(len(choices)), key=lambda index: -len(choices[index])):
        # Options such as "C" and "C++" differ in their punctuation only, so there it counts.
        plain = texts[index] and same[texts[index]] == 1
        parts = texts[index] if plain else choices[index].lower().split()
        body = (r"\W+" if plain else r"\s+").join(map(re.escape, parts))
        yield index, re.compile(rf"(?<!\w)(?<!\d[.,]){body}(?!\w)(?![.,]\d)", re.IGNORECASE)


def _words(choice: str) -> tuple[str, ...]:
    words = re.findall(r"\w+", choice.lower())
    return tuple(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)

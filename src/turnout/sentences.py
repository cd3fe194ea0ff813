"""Where sentences end, and how they are numbered for a reader that names the one its answer stands in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import sentencex

LONGEST_BYTES = 1260
"""A sentence over this size (300 estimated tokens, a whole segment) is cut at its line ends, then between words."""

LONGEST_SENTENCE = 400
"""Characters over which what is called a sentence is a table, a list or code, whose units are lines."""

REMEMBERED = 32
"""Texts whose units are kept: a prompt is counted several times before it is read."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_QUOTES = re.compile(r"([`'“«‘])\1{99,}+")
_WORD = re.compile(r"\S+\s*")
_CUT_EVERY = 16
_HARD_CUT = LONGEST_BYTES // 4


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans [start, end) in characters that cover the text wholly and in order; white space ends a span, never
    makes one. A text of white space alone is one span, an empty text none.

    Abbreviations, quotes and brackets are handled by sentencex (Wikimedia). What has no sentence ends (tables, logs,
    data) is cut into pieces of at most `LONGEST_BYTES`; those cuts depend on nearby text only, so that an edit does
    not move the ones further on.
    """
    # sentencex looks for the end of every quotation, which takes the square of their number.
    readable = _QUOTES.sub(lambda run: "x" * len(run[0]), text)
    starts = sorted({0, *(found["start_index"] for found in sentencex.get_sentence_boundaries("en", readable))})
    return tiled(text, starts)


def tiled(text: str, starts: list[int]) -> list[tuple[int, int]]:
    """Spans from the starts of sentences, which are in order from 0 on; see `sentences`."""
    return _tiled(text, _without_giants(text, starts))


def lines(text: str) -> list[tuple[int, int]]:
    """Like `sentences`, for text whose unit is the line (source code)."""
    return tiled(text, [0, *(line.end() for line in _LINE.finditer(text))])


@lru_cache(maxsize=REMEMBERED)
def units(text: str) -> tuple[tuple[int, int], ...]:
    """Spans of the sentences without the blanks around them; of what is too long to be a sentence, of each line.

    Code is read as prose, so its units are coarse.
    """
    return tuple(trimmed(text, sentences(text)))


def trimmed(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans of sentences without the blanks around them; of what is too long to be one, those of each line."""
    for start, end in spans:
        pieces = [(start, end)]
        if end - start > LONGEST_SENTENCE:
            pieces = [line.span() for line in _LINE.finditer(text, start, end)]
        for first, last in pieces:
            inner = text[first:last].strip()
            if inner:
                first = text.index(inner, first)
                yield first, first + len(inner)


def mark(number: int) -> str:
    """What stands before the sentence with a number."""
    return f"[{number}] "


def numbered(text: str, starts: Iterable[int], first: int) -> str:
    """The text with its `mark` before each start, counted from `first`."""
    pieces, at = [], 0
    for number, start in enumerate(starts, first):
        pieces += [text[at:start], mark(number)]
        at = start
    return "".join(pieces) + text[at:]


def _tiled(text: str, starts: list[int]) -> list[tuple[int, int]]:
    """Spans from one start to the next; white space joins the span before it, or the first one."""
    kept: list[int] = []
    for start, end in pairwise([*starts, len(text)]):
        if not kept or (end > start and not text[start:end].isspace()):
            kept.append(start)
    if len(kept) > 1 and text[: kept[1]].isspace():
        del kept[1]
    return list(pairwise([*kept, len(text)])) if text else []


def _without_giants(text: str, starts: list[int]) -> list[int]:
    """`starts` with further starts inside every span that is too long."""
    out = starts[:1]
    for start, end in pairwise([*starts, len(text)]):
        out.append(start)
        if _too_long(text, start, end):
            for line in _LINE.finditer(text, start, end):
                out.append(line.start())
                if _too_long(text, *line.span()):
                    out.extend(_cuts(text, *line.span()))
    return sorted(set(out))


def _too_long(text: str, start: int, end: int) -> bool:
    if (end - start) * 4 <= LONGEST_BYTES:
        return False
    return end - start > LONGEST_BYTES or len(text[start:end].encode()) > LONGEST_BYTES


def _cuts(text: str, start: int, end: int) -> Iterator[int]:
    """Starts of further pieces of a line without sentence ends.

    A cut follows every word whose own hash says so, one in sixteen: content alone decides. Where no such word comes
    in time, or a word is itself too long, the cut falls where the piece is full.
    """
    piece = start
    for word in _WORD.finditer(text, start, end):
        if word.end() - piece > _HARD_CUT and word.start() > piece:
            piece = word.start()
            yield piece
        while word.end() - piece > _HARD_CUT:
            piece += _HARD_CUT
            yield piece
        if word.end() < end and blake2b(word.group().strip().encode(), digest_size=1).digest()[0] % _CUT_EVERY == 0:
            piece = word.end()
            yield piece

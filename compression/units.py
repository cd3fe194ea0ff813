"""What is kept or left as a whole: sentences, and headings, tables, lists and fenced code, which lose their meaning in
pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from turnout.sentences import lines, units

LONGEST_WHOLE = 2500
"""Characters of a table, a list or fenced code up to which it stays whole; of a longer one every line is a unit."""

Split = Callable[[str], Iterable[tuple[int, int]]]

_LINE = re.compile(r"[^\n]*(?:\n|$)")
_FENCE = re.compile(r"[ \t]*(`{3,}+(?!.*`)|~{3,})")  # "```x```" is code inside a line
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_ITEM = re.compile(r"\s*(?:[-*+•‣–]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_DEPTH = re.compile(r"#+")


@dataclass(frozen=True, slots=True)
class Unit:
    """Characters [start, end) of a text, without the blanks around them. `level` is 1 to 6 of a heading, else 0."""

    start: int
    end: int
    level: int = 0


class Cuts(Protocol):
    """Cuts texts into units as `units_of` does. `fingerprint` is "" for how it is done by default, else it tells one
    way from others in keys of what is kept."""

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, text: str) -> tuple[Unit, ...]: ...


class RuleCuts:
    """The default: prose by the rules of `turnout.sentences`."""

    fingerprint = ""

    def __call__(self, text: str) -> tuple[Unit, ...]:
        return units_of(text)


BY_RULES: Cuts = RuleCuts()


def units_of(text: str, *, code: bool = False, split: Split = units) -> tuple[Unit, ...]:
    """The units of a text in order; between them there is nothing but white space.

    Args:
        code: the text is source code, whose units are lines.
        split: spans of the sentences of prose, without the blanks around them.
    """
    if code:
        return tuple(_trimmed(text, lines(text)))
    found: list[Unit] = []
    for kind, start, end in _blocks(text):
        if kind == "prose":
            found += (Unit(start + first, start + last) for first, last in split(text[start:end]))
        elif kind == "heading":
            depth = _DEPTH.search(text, start, end)
            found += _trimmed(text, [(start, end)], len(depth[0]) if depth else 1)
        elif end - start <= LONGEST_WHOLE:
            found += _trimmed(text, [(start, end)])
        else:
            found += _trimmed(text, [(start + first, start + last) for first, last in lines(text[start:end])])
    return tuple(found)


def _trimmed(text: str, spans: list[tuple[int, int]], level: int = 0) -> Iterator[Unit]:
    for start, end in spans:
        inner = text[start:end].strip()
        if inner:
            first = text.index(inner, start)
            yield Unit(first, first + len(inner), level)


def _blocks(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of runs of lines, from the first to the last character."""
    kind, start, fence = "prose", 0, ""
    for line in _LINE.finditer(text):
        if line.end() == line.start():
            break
        found = _kind(line[0], fence, kind)
        opened = _FENCE.match(line[0])
        if opened and not fence:
            fence = opened[1]  # one that closes it is as long at least
            found = "fence"
            is_new = True
        else:
            is_new = found != kind or found == "heading"
        if is_new and line.start() > start:
            yield kind, start, line.start()
            start = line.start()
        kind = found
        if fence and not is_new and opened and opened[1].startswith(fence) and not line[0].strip(" \t\r\n`~"):
            # The closing fence belongs to the block; what follows is another one.
            yield kind, start, line.end()
            kind, start, fence = "prose", line.end(), ""
    if start < len(text):
        yield kind, start, len(text)


def _kind(line: str, fence: str, before: str) -> str:
    """What a line is part of, `before` being what the one before it was part of."""
    if fence:
        return "fence"
    if _HEADING.match(line):
        return "heading"
    if line.count("|") >= 2 or line.count("\t") >= 2:
        return "table"
    if _ITEM.match(line):
        return "list"
    # Lines that go on with an item are indented.
    if before == "list" and line.strip() and line.startswith(("  ", "\t")):
        return "list"
    return "prose"

"""Source code as blocks: functions, methods and classes, and what stands between them.

Python, JavaScript, TypeScript and Java are parsed by tree-sitter. Of other languages, and of what does not parse, the
blocks are runs of lines without a blank line between them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np

from turnout.errors import MissingExtraError

if TYPE_CHECKING:
    from tree_sitter import Language, Node

Chars = tuple[int, int]
"""Characters [start, end)."""

DEEPEST = 20
"""Classes in each other that are taken apart; those further in stay whole."""


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_GRAMMARS = {
    **dict.fromkeys((".py", ".pyi"), ("tree_sitter_python", "language")),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs"), ("tree_sitter_javascript", "language")),
    **dict.fromkeys((".ts", ".mts", ".cts"), ("tree_sitter_typescript", "language_typescript")),
    ".tsx": ("tree_sitter_typescript", "language_tsx"),
    ".java": ("tree_sitter_java", "language"),
}

_INDENTED = frozenset({"function_definition", "class_definition"})  # Python's
_CLASSES = _words(
    "class_definition class_declaration abstract_class_declaration class interface_declaration enum_declaration "
    "record_declaration annotation_type_declaration internal_module module"
)
_DEFINITIONS = _CLASSES | _words(
    "function_definition function_declaration generator_function_declaration function_expression generator_function "
    "arrow_function method_definition method_declaration constructor_declaration "
    "compact_constructor_declaration"
)
# What a definition may be the last thing in: `export const f = () => {}`, `module.exports.f = function () {}`.
_WRAPPERS = _words(
    "decorated_definition export_statement ambient_declaration lexical_declaration variable_declaration "
    "variable_declarator expression_statement assignment_expression field_definition public_field_definition"
)
_COMMENTS = frozenset({"comment", "line_comment", "block_comment"})
_BLANKS = " \t\f\r"
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of source code; offsets are characters of its text.

    Attributes:
        kind: "definition" (a function, a method, a class without any), "frame" (the first or the last lines of a class
            whose members are blocks of their own) or "rest".
        body: what may be cut: of a definition what stands between its signature and its closing bracket.
        frames: those of the classes that it stands in; it means nothing, and does not parse, without them.
    """

    start: int
    end: int
    kind: Literal["definition", "frame", "rest"]
    body: Chars
    frames: tuple[Chars, ...] = ()


def blocks_of(text: str, title: str) -> tuple[Block, ...]:
    """Blocks in order, each from where the one before it ends, from the first to the last character.

    Args:
        title: its suffix tells the language.

    Raises:
        MissingExtraError: the language is one that is parsed, and its parser is not installed.
    """
    grammar = _GRAMMARS.get(PurePath(title).suffix.lower())
    if grammar is None or not text:
        return _paragraphs(text)
    language = _language(*grammar)
    from tree_sitter import Parser

    data = text.encode(errors="replace")
    root = Parser(language).parse(data).root_node
    if root.has_error:
        return _paragraphs(text)
    tiles = _Tiles(text, data)
    tiles.add(root.named_children, 0, len(text), ())
    return tuple(tiles.blocks)


@cache
def _language(module: str, function: str) -> Language:
    try:
        from tree_sitter import Language

        return Language(getattr(import_module(module), function)())
    except ImportError as error:
        raise MissingExtraError("telling the functions of source code apart", "code") from error


def _paragraphs(text: str) -> tuple[Block, ...]:
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    cuts = [0, *(found.end() for found in _BLANK_LINES.finditer(text) if first < found.end() < last), len(text)]
    return tuple(Block(start, end, "rest", (start, end)) for start, end in pairwise(cuts) if start < end)


@dataclass(slots=True)
class _Item:
    """Something in a file or a class, with the comments and decorators before it; `node` is a definition."""

    start: int
    end: int
    node: Node | None = None


class _Tiles:
    """The blocks of one parsed text, made in order."""

    def __init__(self, text: str, data: bytes) -> None:
        self._text = text
        # The parser counts in bytes; of each character the first byte is no continuation.
        firsts = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        self._ends = None if text.isascii() else np.concatenate([[0], np.cumsum(firsts)])
        self.blocks: list[Block] = []

    def add(self, nodes: Sequence[Node], begin: int, end: int, frames: tuple[Chars, ...]) -> None:
        """Adds blocks that cover [begin, end), which holds the nodes."""
        items = self._items(nodes) or [_Item(begin, end)]
        cuts = [begin, *(self._cut(one.end, next_.start) for one, next_ in pairwise(items)), end]
        before = None
        for item, (start, stop) in zip(items, pairwise(cuts), strict=True):
            if start == stop:
                continue
            if item.node is not None and self._has_members(item.node) and len(frames) < 2 * DEEPEST:
                self._add_class(item.node, start, stop, frames)
            elif item.node is not None:
                self.blocks.append(Block(start, stop, "definition", self._inside(item.node, stop), frames))
            elif before is not None and before.node is None and self._newlines(before.end, item.start) < 2:
                start = self.blocks.pop().start
                self.blocks.append(Block(start, stop, "rest", (start, stop), frames))
            else:
                self.blocks.append(Block(start, stop, "rest", (start, stop), frames))
            before = item

    def _add_class(self, node: Node, start: int, stop: int, frames: tuple[Chars, ...]) -> None:
        first, last = self._inside(node, stop)
        edges = [edge for edge in ((start, first), (last, stop)) if edge[0] < edge[1]]
        self.blocks.append(Block(start, first, "frame", (first, first), frames))
        self.add(_body(node).named_children, first, last, (*frames, *edges))
        if last < stop:
            self.blocks.append(Block(last, stop, "frame", (stop, stop), frames))

    def _items(self, nodes: Sequence[Node]) -> list[_Item]:
        found: list[_Item] = []
        lead: _Item | None = None
        for node in nodes:
            start, end = self._at(node.start_byte), self._at(node.end_byte)
            is_comment = node.type in _COMMENTS
            if is_comment and lead is None and found and not self._newlines(found[-1].end, start):
                found[-1].end = end  # a comment that ends a line belongs to it
                continue
            if lead is not None and self._newlines(lead.end, start) > 1:
                found.append(lead)
                lead = None
            if is_comment or node.type == "decorator":
                lead = _Item(lead.start if lead else start, end)
                continue
            found.append(_Item(lead.start if lead else start, end, _definition(node)))
            lead = None
        return [*found, lead] if lead else found

    def _has_members(self, node: Node) -> bool:
        return node.type in _CLASSES and any(_definition(each) is not None for each in _body(node).named_children)

    def _inside(self, node: Node, stop: int) -> Chars:
        """What stands between a definition's signature and its closing bracket, in whole lines where they are its."""
        body = _body(node)
        start, end = self._at(body.start_byte), self._at(body.end_byte)
        if node.type in _INDENTED or self._text[start] != "{":
            return self._line_start(start), stop
        return self._next_line(start + 1), self._line_start(end - 1)

    def _at(self, byte: int) -> int:
        return byte if self._ends is None else int(self._ends[byte])

    def _newlines(self, start: int, end: int) -> int:
        return self._text.count("\n", start, end)

    def _cut(self, end: int, start: int) -> int:
        """Between two items: before the line of the second one, where it has a line of its own."""
        newline = self._text.rfind("\n", end, start)
        return newline + 1 if newline >= 0 else start

    def _line_start(self, at: int) -> int:
        """The start of the line, where there are only blanks before."""
        line = at
        while line and self._text[line - 1] in _BLANKS:
            line -= 1
        return line if not line or self._text[line - 1] == "\n" else at

    def _next_line(self, at: int) -> int:
        """The start of the next line, where there are only blanks before it."""
        line = at
        while self._text[line] in _BLANKS:
            line += 1
        return line + 1 if self._text[line] == "\n" else at


def _definition(node: Node) -> Node | None:
    """The function or class that a node is, or ends with."""
    while node.type in _WRAPPERS:
        inner = [child for child in node.named_children if child.type not in _COMMENTS]
        if not inner:
            return None
        node = inner[-1]
    return node if node.type in _DEFINITIONS and node.child_by_field_name("body") is not None else None


def _body(node: Node) -> Node:
    """Of a definition, which always has one."""
    return node.child_by_field_name("body") or node

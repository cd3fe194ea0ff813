"""Filler: running text of given sources, without anything that could be taken for a planted fact."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from turnout.errors import ConfigurationError, DocumentError
from turnout.router.calibration.grading import numbers
from turnout.router.evaluation import json_lines
from turnout.router.words import content_words
from turnout.sentences import sentences

Count = Callable[[str], int]
"""Tokens of a text in the reader's tokens."""

TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst"})
BLOCK_CHARS = 1000
"""Least size of the blocks in which sentences are found: a draw starts at one, and a book is read only as far as it is
used."""

_FIGURES = re.compile(r"(?<![\d.,])\d{1,3}(?![\d])")


def read_texts(path: Path) -> list[str]:
    """The texts of a .jsonl or .jsonl.gz file (field "text"), of a text file, or of all such files in a folder.

    Raises:
        DocumentError: nothing is there, or a file can't be read; names the line.
    """
    if not path.exists():
        raise DocumentError(str(path), "not found", hint="give a .jsonl, .jsonl.gz or text file, or a folder of them")
    files = sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p)) if path.is_dir() else [path]
    texts = [text for file in files for text in _texts(file) if text.strip()]
    if not texts:
        raise DocumentError(
            str(path), "holds no text", hint=f"known files: .jsonl, .jsonl.gz, {', '.join(sorted(TEXT_SUFFIXES))}"
        )
    return texts


def default_texts() -> list[str]:
    """This project's own documentation, as shipped: about 3,000 tokens."""
    folder = resources.files("turnout") / "demo_documents"
    pages = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".md")), key=lambda entry: entry.name)
    return [page.read_text(encoding="utf-8") for page in pages]


def _is_text(path: Path) -> bool:
    return path.name.endswith(json_lines.SUFFIXES) or path.suffix in TEXT_SUFFIXES


def _texts(path: Path) -> list[str]:
    if path.name.endswith(json_lines.SUFFIXES):
        return [_field(row, f"{path}:{line}") for line, row in json_lines.objects(path, _damaged)]
    try:
        return [path.read_bytes().decode("utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(path), f"can't be read: {error}", hint="give UTF-8 text or JSON lines") from error


def _field(row: Mapping[str, Any], where: str) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise DocumentError(where, 'no text in the field "text"', hint='each line is {"text": "..."}')
    return text


def _damaged(line: json_lines.Malformed) -> None:
    raise DocumentError(f"{line.file}:{line.line}", line.reason, hint='each line is {"text": "..."}')


@dataclass(frozen=True, slots=True)
class Filler:
    """Texts to draw running sentences from.

    Attributes:
        texts: the sources.
        words: content words (stems) that no drawn sentence holds: those of the planted facts and their questions.
        numbers: nor any of these numbers, in figures or in words, so that the answer stands in its fact alone.
    """

    texts: Sequence[str]
    words: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()

    def draw(self, source: random.Random, count: Count, tokens: int) -> list[str]:
        """Sentences in running order from a random place on, white space included, of at least `tokens` tokens.

        No passage comes twice: after the last text the first follows, once round. Where the texts have it, a little
        more comes, because sentences count fewer tokens together than apart.

        Raises:
            ConfigurationError: all the texts together are shorter.
        """
        drawn, total = [], 0
        for sentence in self._from(self._start(source)):
            drawn.append(sentence)
            total += count(sentence)
            if total >= tokens + tokens // 20 + 32:
                break
        if total >= tokens:
            return drawn
        raise ConfigurationError(
            f"the filler texts hold {total:,} tokens, {tokens:,} are needed",
            hint="give longer ones with --texts, or smaller sizes with --max-size",
        )

    def capacity(self, count: Count, enough: int) -> int:
        """Tokens of all sentences that can be drawn; counting stops at `enough`."""
        total = 0
        for sentence in self._from((0, 0)):
            total += count(sentence)
            if total >= enough:
                break
        return total

    def _start(self, source: random.Random) -> tuple[int, int]:
        """A random place, each character as likely as any other: (text, block)."""
        index = source.choices(range(len(self.texts)), weights=[len(text) for text in self.texts])[0]
        return index, source.randrange(len(_blocks(self.texts[index])))

    def _from(self, start: tuple[int, int]) -> Iterator[str]:
        first, block = start
        order = [*range(first, len(self.texts)), *range(first)]
        yield from self._sentences(_blocks(self.texts[first])[block:])
        for index in order[1:]:
            yield from self._sentences(_blocks(self.texts[index]))
        yield from self._sentences(_blocks(self.texts[first])[:block])

    def _sentences(self, blocks: Iterable[str]) -> Iterator[str]:
        for block in blocks:
            for begin, end in sentences(block):
                sentence = block[begin:end]
                if sentence.strip() and self._is_clean(sentence):
                    yield sentence

    def _is_clean(self, sentence: str) -> bool:
        # Figures apart from that: grading reads "14.5" as another number than 14, a model may not.
        if any(number.isdigit() and int(number) in self.numbers for number in numbers(sentence)):
            return False
        if any(int(number) in self.numbers for number in _FIGURES.findall(sentence)):
            return False
        return not self.words or self.words.isdisjoint(content_words(sentence))


def _blocks(text: str) -> list[str]:
    """The text in pieces of `BLOCK_CHARS` to twice that, cut after a paragraph, else a sentence, a line, a word."""
    blocks, begin = [], 0
    while begin < len(text):
        end = _block_end(text, begin + BLOCK_CHARS)
        blocks.append(text[begin:end])
        begin = end
    return blocks


def _block_end(text: str, least: int) -> int:
    most = least + BLOCK_CHARS
    if most >= len(text):
        return len(text)
    found = ((text.find(mark, least, most), len(mark)) for mark in ("\n\n", ".\n", ". ", "\n", " "))
    return next((at + length for at, length in found if at >= 0), most)

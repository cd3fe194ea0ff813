"""How much pieces of code help to foretell a question, and where code surprises (LongCodeZip, arXiv 2510.00446)."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from turnout.compression.code_blocks import Chars
from turnout.compression.sealed import under
from turnout.contracts import Surprises
from turnout.documents import SegmentKey
from turnout.progress import Watch
from turnout.sentences import lines

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache

VERSION = "1"
"""Of what is read; part of the fingerprint."""

_VALUE = struct.Struct("<d")

LONGEST = 2000
"""Tokens of code that are read at once; of what is longer the most helpful piece counts."""

STEEPEST = 50.0
"""Nats a token above which surprises are not told apart; their exponentials stay finite."""


class Foretelling:
    """What an engine says of code and one question.

    Args:
        count: tokens of a text.
        cache: keeps what was said, by piece of code and question.
    """

    def __init__(
        self,
        engine: Surprises,
        count: Callable[[str], int],
        question: str,
        cache: SegmentCache,
        watch: Watch,
    ) -> None:
        self._engine = engine
        self._count = count
        self._question = question
        self._cache = cache
        self._watch = watch
        self._fingerprint = f"code/{VERSION}/{engine.model.fingerprint}"
        # Half of the window, because tokens may be counted for another model than the one that reads here.
        self._longest = min(LONGEST, max((engine.model.window - count(question)) // 2, 1))

    def gains(self, texts: Sequence[str]) -> list[float]:
        """Of each text, how much less surprising the question is after it, in nats a token; below 0 where it is more.

        Raises:
            EngineError: the question is over the window.
            Cancelled: the watch said so; what was found until then is cached.
        """
        if not texts:
            return []
        pieces = [self._pieces(text) for text in texts]
        alone, *after = self._surprises(["", *(f"{piece}\n\n" for each in pieces for piece in each)])
        surprises = iter(after)
        return [max(alone - next(surprises) for _ in each) for each in pieces]

    def _surprises(self, texts: Sequence[str]) -> list[float]:
        """Of the question after each text."""
        keys = [self._key(text, f"surprise/{_hash(self._question)}") for text in texts]
        held = self._cache.get_many(keys)
        found = {place: _VALUE.unpack(value)[0] for place, value in enumerate(held) if value is not None}
        missing = [place for place in range(len(texts)) if place not in found]
        done = 0
        for few in self._together(missing, texts):
            for place, value in zip(
                few, self._engine.surprise([texts[at] for at in few], self._question, self._watch), strict=True
            ):
                self._cache.put(keys[place], _VALUE.pack(value))
                found[place] = value
            done += len(few)
            self._watch.progress("scanning", done, len(missing))
        return [found[place] for place in range(len(texts))]

    def _together(self, places: Iterable[int], texts: Sequence[str]) -> Iterator[list[int]]:
        """Those that are given to the engine at once."""
        few: list[int] = []
        tokens = 0
        for place in places:
            few.append(place)
            tokens += self._count(texts[place])
            if tokens >= self._longest:
                yield few
                few, tokens = [], 0
        if few:
            yield few

    def _key(self, text: str, kind: str) -> SegmentKey:
        return SegmentKey(_hash(text), kind, under(self._watch.namespace, self._fingerprint))

    def perplexities(self, text: str, spans: Sequence[Chars]) -> list[float]:
        """Of each line of a text, after all before it that is read at once."""
        found: list[float] = []
        begin = 0
        for few in self._runs(text, spans):
            end = few[-1][1]
            read = self._lines(text[begin:end], [(a - begin, b - begin) for a, b in few])
            found += (math.exp(min(surprise, STEEPEST)) for surprise in read)
            begin = end
        return found

    def _lines(self, text: str, spans: Sequence[Chars]) -> list[float]:
        """Of each line of what is read at once; no question plays a part in it."""
        key = self._key(text, f"lines/{_hash(repr(list(spans)))}")
        held = self._cache.get(key)
        if held is not None:
            return [value for (value,) in _VALUE.iter_unpack(held)]
        found = self._engine.line_surprises(text, spans, self._watch)
        self._cache.put(key, b"".join(map(_VALUE.pack, found)))
        return found

    def _pieces(self, text: str) -> list[str]:
        if self._count(text) <= self._longest:
            return [text]
        return [text[few[0][0] : few[-1][1]] for few in self._runs(text, lines(text))]

    def _runs(self, text: str, spans: Iterable[Chars]) -> list[list[Chars]]:
        """Neighbours that are read at once."""
        found: list[list[Chars]] = []
        tokens = 0
        for start, end in spans:
            size = self._count(text[start:end])
            if not found or tokens + size > self._longest:
                found.append([])
                tokens = 0
            found[-1].append((start, end))
            tokens += size
        return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

"""Content-defined segments: whole sentences, 150 to 300 tokens, with boundaries that an edit moves only nearby.

Fixed-size windows shift at every edit, and all that hangs on a segment (vectors, scores, KV) would be lost. Here a
sentence end is a boundary because of the text around it, as in local-minimum chunking (Bjørner, Blass and Gurevich,
"Content-dependent chunking for differential compression", 2010):

1. Every sentence has a hash. A sentence end is a *primary* boundary if its hash is the least within `MIN_TOKENS` on
   both sides; of equal hashes the earlier counts as less. Whether an end is one therefore depends on text within
   `MIN_TOKENS` (and the next sentence) alone, and two primary boundaries are more than `MIN_TOKENS` apart.
2. A primary segment over `MAX_TOKENS` is split at the least hash that leaves `MIN_TOKENS` on both sides, again and
   again, by its own sentences alone.

So an edit changes only segments inside the primary segments that reach to within `MIN_TOKENS` of it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b, sha256
from itertools import accumulate, pairwise

from turnout.documents import Document, Segment, Span
from turnout.sentences import lines, sentences

MIN_TOKENS, MAX_TOKENS = 150, 300

# Sizes are compared in bytes: whole numbers, and the estimate is a multiple of them.
_BYTES_PER_TOKEN = 4.2
_MIN = int(MIN_TOKENS * _BYTES_PER_TOKEN)
_MAX = int(MAX_TOKENS * _BYTES_PER_TOKEN)

_HEADING = re.compile(r"\s*#{1,6}\s")
_LATE, _LAST = 1 << 64, 1 << 65


def estimate_tokens(text: str) -> int:
    """Tokens of a text, of the right order for any model: UTF-8 bytes / 4.2, which counts a CJK character as 0.7."""
    return _tokens(len(text.encode()))


def segment(document: Document, most_tokens: int = MAX_TOKENS, *, salt: str = "") -> list[Segment]:
    """Segments that tile the document's text in order; none where it holds only white space.

    Source code is cut at line ends, everything else at sentence ends. A heading starts a segment where it can.

    Args:
        most_tokens: in place of MAX_TOKENS, with half of it in place of MIN_TOKENS: to measure other sizes.
        salt: of the document's collection, where that is kept apart: goes into the hashes, not into the boundaries.
    """
    text = document.text
    if not text.strip():
        return []
    is_code = document.kind == "code"
    units = lines(text) if is_code else sentences(text)
    encoded = [text[start:end].encode() for start, end in units]
    sizes = [len(unit) for unit in encoded]
    headings = [not is_code and _HEADING.match(text, start) is not None for start, _ in units]
    cuts = boundaries(sizes, ranks(encoded, headings), int(most_tokens * _BYTES_PER_TOKEN))
    return [_segment(document, units[first][0], units[last - 1][1], salt) for first, last in pairwise([0, *cuts])]


def ranks(units: Sequence[bytes], headings: Sequence[bool]) -> list[int]:
    """How much each unit's end wants to be a boundary, least first: before a heading, by hash, after a heading."""
    hashes = (int.from_bytes(blake2b(unit, digest_size=8).digest()) for unit in units)
    after = [*headings[1:], False]
    return [
        hash_ + (_LAST if is_heading else 0 if before_heading else _LATE)
        for hash_, is_heading, before_heading in zip(hashes, headings, after, strict=True)
    ]


def boundaries(sizes: Sequence[int], order: Sequence[int], most: int = _MAX) -> list[int]:
    """The unit numbers at which segments end (exclusive), the last one always included.

    Args:
        sizes: bytes of each unit.
        order: rank of each unit's end, from `ranks`.
        most: bytes of a segment of several units.
    """
    ends = list(accumulate(sizes))
    first_cuts = pairwise([0, *primary(ends, order, most // 2)])
    return [cut for first, last in first_cuts for cut in _split(ends, order, first, last, most)]


def primary(ends: Sequence[int], order: Sequence[int], least: int = _MIN) -> list[int]:
    """Step 1: like `boundaries`, by local minima alone.

    Args:
        ends: bytes from the start of the text to the end of each unit.
        order: rank of each unit's end.
        least: bytes on both sides.
    """
    before, after = [0] * len(ends), [ends[-1]] * len(ends)
    waiting: list[int] = []  # units with no lesser one after them yet; their ranks rise
    for unit in range(len(ends) - 1):
        while waiting and order[waiting[-1]] > order[unit]:
            after[waiting.pop()] = ends[unit]
        if waiting:
            before[unit] = ends[waiting[-1]]
        waiting.append(unit)
    local = (u + 1 for u in range(len(ends) - 1) if ends[u] - before[u] > least and after[u] - ends[u] > least)
    return [*local, len(ends)]


def _split(ends: Sequence[int], order: Sequence[int], first: int, last: int, most: int) -> Iterator[int]:
    """Step 2: the ends of the segments that make up units [first, last), in order."""
    todo, least = [(first, last)], most // 2
    while todo:
        first, last = todo.pop()
        start, stop = (ends[first - 1] if first else 0), ends[last - 1]
        if last - first == 1 or stop - start <= most:
            yield last
            continue
        low = bisect_left(ends, start + least, first, last - 1)
        high = bisect_right(ends, stop - least, first, last - 1)
        # Equal ranks (repeated text) are cut in the middle, which also keeps the number of rounds small.
        if low < high:
            cut = min(range(low, high), key=lambda unit: (order[unit], abs(2 * ends[unit] - start - stop)))
        else:
            cut = min(
                range(first, last - 1), key=lambda unit: (order[unit] >= _LAST, abs(2 * ends[unit] - start - stop))
            )
        todo += [(cut + 1, last), (first, cut + 1)]


def _segment(document: Document, start: int, end: int, salt: str) -> Segment:
    encoded = document.text[start:end].encode()
    return Segment(Span(document.id, start, end), sha256(salt.encode() + encoded).hexdigest(), _tokens(len(encoded)))


def _tokens(size: int) -> int:
    return -int(-size // _BYTES_PER_TOKEN)

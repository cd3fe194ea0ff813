"""Vectors of segments that know what stands around them: the text is read first, and cut afterwards.

Late chunking (arXiv 2409.04701): as many neighbouring segments of a document as the embedder reads at once go through
it together, and a segment's vector is the mean over its own tokens. So "its population" is near the city that was named
before. A document that is longer is read in windows of whole segments; where what stands before a window is short
enough, it is read once more and not counted (the paper's long late chunking). The vector of a segment depends on its
window, so it is kept by the text of both, beside the plain one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import Embedder, EmbedsTogether, SegmentCache
from turnout.documents import Segment, SegmentKey
from turnout.errors import ConfigurationError
from turnout.progress import Progress, silent
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.vectors import checked, name_of, pack, unpack

KIND = "embedding"
"""First part of the keys' kind, see `turnout.compression.sealed`."""

AROUND = 0.25
"""Most of a window that is of the one before."""

AT_ONCE = 64
"""Windows that are embedded before their vectors are kept, so that work done stays when the caller gives up."""


@dataclass(frozen=True, slots=True)
class Window:
    """Neighbouring segments [first, end) of one document; those from `begin` on get their vectors here."""

    first: int
    begin: int
    end: int


class LateVectors:
    """Makes the vectors of a corpus, and keeps them.

    Args:
        embedder: can read pieces of a text together.
        cache: keeps vectors.
        progress: called with "embedding", the segments that are done, and how many there are.

    Raises:
        ConfigurationError: the embedder can't.
    """

    def __init__(self, embedder: Embedder, cache: SegmentCache, progress: Progress = silent) -> None:
        if not isinstance(embedder, EmbedsTogether) or embedder.together_tokens is None:
            raise ConfigurationError(
                f"late chunking needs an embedder that averages over tokens, {name_of(embedder)} is none that is known",
                hint="use a BERT encoder with mean pooling, or leave late chunking out",
            )
        self._embedder: EmbedsTogether = embedder
        self._cache, self._progress = cache, progress
        self._fingerprint, self._dimension = embedder.fingerprint, embedder.dimension
        self._tokens = embedder.together_tokens

    def of(self, corpus: Corpus) -> NDArray[np.float32]:
        """[segments, dimension], rows of length 1; those that are not kept are made.

        Raises:
            ModelError: the embedder broke its contract.
        """
        found = np.zeros((len(corpus.segments), self._dimension), np.float32)
        missing: list[Window] = []
        for window in windows(corpus.segments, self._tokens):
            kept = self._cache.get_many(self._keys(window, corpus))
            if all(value is not None and len(value) == 4 * self._dimension for value in kept):
                values = [value for value in kept if value is not None]
                found[window.begin : window.end] = unpack(values, self._dimension)
            else:
                missing.append(window)
        done = len(corpus.segments) - sum(window.end - window.begin for window in missing)
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            texts = [[corpus.text(each.span) for each in corpus.segments[w.first : w.end]] for w in some]
            for window, vectors in zip(some, self._embedder.embed_together(texts), strict=True):
                size = window.end - window.begin
                own = checked(vectors[window.begin - window.first :], size, self._dimension)
                found[window.begin : window.end] = own
                self._cache.put_many(zip(self._keys(window, corpus), map(pack, own), strict=True))
                done += size
            self._progress("embedding", done, len(corpus.segments))
        return found

    def _keys(self, window: Window, corpus: Corpus) -> list[SegmentKey]:
        segments = corpus.segments[window.first : window.end]
        around = hashlib.sha256("".join(segment.hash for segment in segments).encode()).hexdigest()
        return [
            SegmentKey(segment.hash, f"{KIND}/late/{around}/{number}", self._fingerprint)
            for number, segment in enumerate(segments)
            if number >= window.begin - window.first
        ]


def windows(segments: Sequence[Segment], tokens: int) -> Iterator[Window]:
    """Every segment once in the part of a window that counts, in order; a window has at most so many tokens, estimated,
    or one segment."""
    first = begin = size = 0
    for number, segment in enumerate(segments):
        same = number > begin and segment.span.document_id == segments[begin].span.document_id
        if number > begin and (not same or size + segment.tokens_estimate > tokens):
            yield Window(first, begin, number)
            first = begin = number
            size = 0
            around = int(AROUND * tokens) if same else 0
            while first and same and segments[first - 1].tokens_estimate <= around - size:
                if segments[first - 1].span.document_id != segment.span.document_id:
                    break
                first -= 1
                size += segments[first].tokens_estimate
            if size + segment.tokens_estimate > tokens:
                first, size = number, 0
        size += segment.tokens_estimate
    if segments:
        yield Window(first, begin, len(segments))

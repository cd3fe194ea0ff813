"""What an engine makes of segments, whatever is asked: made once, and kept by the segment's text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from turnout.compression import once
from turnout.documents import SegmentKey
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache
    from turnout.documents import Segment
    from turnout.retrieval.corpus import Corpus


class OfSegments(ABC):
    """Values of one kind in a cache.

    Attributes:
        what: they are, the kind of their keys.
        together: segments of which they are made at once: enough to fill a batch, few enough that a claim is renewed in
            time.
        at_once: values that are read from the cache in one go; all by default.
    """

    what: str
    together: int
    at_once: int | None = None

    def __init__(self, cache: SegmentCache) -> None:
        self._cache = cache

    @property
    @abstractmethod
    def made_with(self) -> tuple[str, int]:
        """The fingerprint of all that values depend on, and the bytes of which each has a multiple."""

    @abstractmethod
    def make(self, texts: Sequence[str], watch: Watch) -> Iterator[bytes]:
        """The value of each text."""

    def missing(self, segments: Sequence[Segment]) -> list[bool]:
        """Whether each segment's would have to be made; nothing is read."""
        return [not there for there in self._cache.has(self._keys(segments))]

    def of(self, corpus: Corpus, watch: Watch | None = None) -> list[bytes]:
        """Those of each segment.

        Raises:
            Cancelled: the watch said so; what was made until then is kept.
        """
        watch = watch or Watch()
        segments, (_, each) = corpus.segments, self.made_with

        def make(places: Sequence[int]) -> Iterator[bytes]:
            for begin in range(0, len(places), self.together):
                some = places[begin : begin + self.together]
                yield from self.make([corpus.text(segments[i].span) for i in some], watch)

        # Damage is seen by the checksum; values of another width would only be of another fingerprint.
        return once.values(
            self._cache,
            self._keys(segments),
            make,
            lambda place, value: len(value) % each == 0,
            watch,
            at_once=self.at_once,
        )

    def _keys(self, segments: Sequence[Segment]) -> list[SegmentKey]:
        fingerprint, _ = self.made_with
        return [SegmentKey(segment.hash, self.what, fingerprint) for segment in segments]

"""What `soft` and `soft:ape` keep of documents, made ahead of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from turnout.compression.of_segments import OfSegments
from turnout.compression.segment_kv import SegmentKv
from turnout.compression.soft import SoftTokens
from turnout.contracts import ReadsParallel, Softens
from turnout.documents import Document
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.parts import Parts

SOFT, APE = "soft", "soft:ape"


def soften(parts: Parts, documents: Sequence[Document], strategy: str, stopped: Callable[[], bool]) -> dict[str, int]:
    """See `Turnout.soften`."""
    kept = _kept(parts, strategy)
    corpus = parts.corpus(documents)
    missing = {
        segment.hash for segment, absent in zip(corpus.segments, kept.missing(corpus.segments), strict=True) if absent
    }
    if missing:
        parts.engine.open()
        kept.of(corpus, Watch(stopped, parts.progress))
    return {"segments": len({segment.hash for segment in corpus.segments}), "made": len(missing)}


def _kept(parts: Parts, strategy: str) -> OfSegments:
    engine, cache = parts.engine, parts.caches.segments
    if strategy == SOFT:
        if isinstance(engine, Softens) and engine.can_soften():
            return SoftTokens(engine, cache)
    elif strategy == APE:
        if isinstance(engine, ReadsParallel) and engine.can_read_parallel():
            return SegmentKv(engine, cache)
    else:
        raise UnknownNameError("strategy that keeps something of segments", strategy, [SOFT, APE])
    raise ConfigurationError(
        f"{engine.model.name} can't make what {strategy} keeps",
        hint="that needs a model on this machine whose keys and values lie in pages (docs/engine.md)",
    )

"""Making the soft tokens of documents ahead of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from turnout.compression.soft import SoftTokens
from turnout.contracts import Softens
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.types import Document

if TYPE_CHECKING:
    from turnout.parts import Parts


def soften(parts: Parts, documents: Sequence[Document], stopped: Callable[[], bool]) -> dict[str, int]:
    """See `Turnout.soften`."""
    engine = parts.engine
    if not isinstance(engine, Softens) or not engine.can_soften():
        raise ConfigurationError(
            f"{parts.engine.model.name} can't make soft tokens",
            hint="that needs a model on this machine whose keys and values lie in pages (docs/engine.md)",
        )
    corpus = parts.corpus(documents)
    tokens = SoftTokens(engine, parts.caches.segments)
    missing = {
        segment.hash for segment, absent in zip(corpus.segments, tokens.missing(corpus.segments), strict=True) if absent
    }
    if missing:
        engine.open()
        tokens.of(corpus, Watch(stopped, parts.progress))
    return {"segments": len({segment.hash for segment in corpus.segments}), "made": len(missing)}

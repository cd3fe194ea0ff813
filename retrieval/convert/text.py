"""Plain text, Markdown and source code: decoded and otherwise untouched."""

from __future__ import annotations

from turnout.retrieval.convert.converted import Converted
from turnout.retrieval.convert.encoding import decode


def convert_text_bytes(data: bytes, *, source: str, max_bytes: int) -> Converted:
    """Decodes; see `encoding.decode`."""
    text, notes = decode(data, source=source)
    return Converted(text, notes=notes)

"""A document on its way into the library."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.documents import Document


@dataclass(frozen=True, slots=True)
class Pending:
    """A converted document on its way in. `file_hash` and `converter` let an unchanged file skip conversion;
    `metadata` is JSON to keep with its source, "" for none."""

    document: Document
    file_hash: str = ""
    converter: str = ""
    metadata: str = ""

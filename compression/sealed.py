"""How segment caches keep values outside of this process: each with what it is of, and a checksum."""

from __future__ import annotations

import hashlib

from turnout.documents import SegmentKey

_MAGIC = b"turnout segment 2\n"
_SUM = 32

EMBEDDING, SCORES, SOFT, KV = "embedding", "scores", "soft", "kv"
"""What values are, the first part of `SegmentKey.kind`: the vector of a segment; how much a question wants its
sentences; its soft tokens; its keys and values, read without what stands around it."""


BY_SEGMENT = frozenset({EMBEDDING, SOFT, KV})
"""Kinds whose keys are the hashes of segments. Those of the others are of passages, functions and the like."""

HEAD = 32
"""Digits of a name that are the segment's, so that all values of a segment are found."""


def under(namespace: str | None, fingerprint: str) -> str:
    """The fingerprint of what may be found again only under one name: for values whose keys are the hashes of texts,
    which bear no salt."""
    return fingerprint if namespace is None else f"{fingerprint}/{hashlib.sha256(namespace.encode()).hexdigest()}"


def kind_of(key: SegmentKey) -> str:
    """What is kept, without the question that it is kept for."""
    return key.kind.partition("/")[0]


def name_of(key: SegmentKey) -> str:
    """A name for a key that any store can have: the segment's last HEAD hexadecimal digits, then as many of all."""
    return head_of(key.segment) + hashlib.sha256(_named(key)).hexdigest()[:HEAD]


def head_of(segment: str) -> str:
    """How the names of a segment's values begin."""
    return segment[-HEAD:]


def sealed(key: SegmentKey, value: bytes) -> bytes:
    """A value as it is kept."""
    named = _named(key)
    return _MAGIC + named + hashlib.sha256(named + value).digest() + value


def opened(key: SegmentKey, content: bytes) -> bytes | None:
    """What `sealed` was given; None where it is damaged, cut off, or of another key."""
    head = _MAGIC + _named(key)
    start = len(head) + _SUM
    value = content[start:]
    if content[: len(head)] != head or hashlib.sha256(_named(key) + value).digest() != content[len(head) : start]:
        return None
    return value


def _named(key: SegmentKey) -> bytes:
    return f"{key.segment}\n{key.kind}\n{key.fingerprint}\n".encode()

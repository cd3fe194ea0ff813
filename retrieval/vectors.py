"""Vectors as bytes, and the check that every vector passes before it is stored or compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import EmbedsQuestions
from turnout.errors import ModelError

if TYPE_CHECKING:
    from turnout.contracts import Embedder

_STORED = np.dtype("<f4")


def pack(vector: NDArray[np.float32]) -> bytes:
    """Little-endian float32, the stored form."""
    return vector.astype(_STORED, copy=False).tobytes()


def unpack(rows: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """[len(rows), dimension] of stored vectors."""
    flat = np.frombuffer(b"".join(rows), dtype=_STORED)
    return flat.astype(np.float32, copy=False).reshape(len(rows), dimension)


def name_of(embedder: Embedder) -> str:
    """What a person calls an embedder: its own `name`, or else the beginning of its fingerprint."""
    return str(getattr(embedder, "name", "")) or embedder.fingerprint[:12]


def of_question(embedder: Embedder, question: str) -> NDArray[np.float32]:
    """[dimension], of length 1: what the vectors of texts are compared with. See `EmbedsQuestions`.

    Raises:
        ModelError: the embedder broke its contract.
    """
    if isinstance(embedder, EmbedsQuestions):
        found = embedder.embed_question(question)[None, :]
    else:
        found = embedder.embed([question])
    return np.ascontiguousarray(checked(found, 1, embedder.dimension)[0])


def checked(vectors: NDArray[np.float32], rows: int, dimension: int) -> NDArray[np.float32]:
    """`vectors` itself, when an embedder kept its contract.

    Raises:
        ModelError: the shape is wrong, a value is not a finite number, or a row is not of length 1.
    """
    if vectors.shape != (rows, dimension):
        raise ModelError(
            f"the embedder returned vectors of shape {vectors.shape} for {rows} texts of dimension {dimension}",
            hint="use another embedder, or report this with the model's name",
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise ModelError(
            f"the embedder returned values that are not numbers for {bad.size} of {rows} texts (first: text {bad[0]})",
            hint="its files may be damaged: turnout models verify",
        )
    lengths = np.linalg.norm(vectors, axis=1)
    off = np.flatnonzero(np.abs(lengths - 1) > 1e-2)
    if off.size:
        raise ModelError(
            f"the embedder returned a vector of length {lengths[off[0]]:.3f}, not 1, for text {off[0]} of {rows}",
            hint="use another embedder, or report this with the model's name",
        )
    return vectors

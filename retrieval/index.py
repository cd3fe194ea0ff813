"""The FAISS file: the vectors of one embedder, for exact search over many documents. SQL is the truth behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from filelock import FileLock
from numpy.typing import NDArray

from turnout.database import Database
from turnout.errors import MissingExtraError, StoreError
from turnout.retrieval.vectors import unpack

if TYPE_CHECKING:
    from faiss import IndexIDMap2

GONE = -1
"""Stands for the id of a vector that is not stored any more."""

_ROWS_AT_ONCE = 10_000


def is_installed() -> bool:
    """Whether FAISS can be imported."""
    return find_spec("faiss") is not None


class VectorIndex:
    """`IndexIDMap2(IndexFlatIP)` in one file; ids are those of the table `vectors`, which are never used twice.

    Args:
        database: holds the vectors.
        home: the folder of the file.
        fingerprint: of the embedder.
        dimension: of its vectors.
    """

    def __init__(self, database: Database, home: Path, fingerprint: str, dimension: int) -> None:
        self.path = home / f"index-{fingerprint[:8]}.faiss"
        self._database = database
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._index: IndexIDMap2 | None = None
        self._loaded: tuple[int, int] | None = None

    def sync(self) -> IndexIDMap2:
        """Brings the file in line with the table: removes and adds the difference, then replaces the file at once.

        A missing or damaged file is made anew. Returns the index.

        Raises:
            MissingExtraError: FAISS is not installed.
            StoreError: the file can't be written.
        """
        faiss = _faiss()
        with self._locked():
            index = self._read() or faiss.IndexIDMap2(faiss.IndexFlatIP(self._dimension))
            held = faiss.vector_to_array(index.id_map)
            stored = self._stored_ids()
            gone, new = np.setdiff1d(held, stored), np.setdiff1d(stored, held)
            if gone.size:
                index.remove_ids(faiss.IDSelectorBatch(gone))
            for start in range(0, new.size, _ROWS_AT_ONCE):
                ids, vectors = self._rows(new[start : start + _ROWS_AT_ONCE])
                index.add_with_ids(vectors, ids)
            if gone.size or new.size or not self.path.exists():
                self._write(index)
            self._index, self._loaded = index, self._stamp()
            return index

    def cosines(self, vector: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """[len(ids)] inner products of a vector with those stored under `ids` (which may repeat).

        Raises:
            StoreError: an id is not in the table: its document was removed meanwhile.
        """
        faiss = _faiss()
        index = self._index
        if index is None or self._loaded != self._stamp() or not _holds(index, ids):
            index = self.sync()
        if not _holds(index, ids):
            raise StoreError("a document was removed while it was searched", hint="ask again", retryable=True)
        wanted, back = np.unique(ids, return_inverse=True)
        only = faiss.SearchParameters(sel=faiss.IDSelectorBatch(wanted))
        products, found = index.search(vector[None, :], wanted.size, params=only)
        ordered = np.empty(wanted.size, np.float32)
        ordered[np.searchsorted(wanted, found[0])] = products[0]
        scores: NDArray[np.float32] = ordered[back]
        return scores

    def _read(self) -> IndexIDMap2 | None:
        faiss = _faiss()
        try:
            index = faiss.read_index(str(self.path))  # of its own class already; downcast_index would not own it
        except RuntimeError:  # missing or damaged: FAISS has no error class of its own
            return None
        fits = isinstance(index, faiss.IndexIDMap2) and index.d == self._dimension
        ids = faiss.vector_to_array(index.id_map) if fits else np.empty(0, np.int64)
        return index if fits and np.unique(ids).size == ids.size == index.index.ntotal else None

    def _write(self, index: Any) -> None:
        fresh = self.path.with_suffix(".new")
        try:
            _faiss().write_index(index, str(fresh))
            fresh.chmod(0o600)
            fresh.replace(self.path)
        except (OSError, RuntimeError) as error:
            fresh.unlink(missing_ok=True)
            raise StoreError(
                f"{self.path} can't be written: {error}", hint="check the space and permissions"
            ) from error

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with FileLock(self.path.with_suffix(".lock")):
            yield

    def _stored_ids(self) -> NDArray[np.int64]:
        with self._database.read() as connection:
            rows = connection.execute(
                sa.text("SELECT id FROM vectors WHERE fingerprint = :fingerprint ORDER BY id"),
                {"fingerprint": self._fingerprint},
            )
            return np.fromiter(rows.scalars(), np.int64)

    def _rows(self, ids: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._database.read() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT id, vector FROM vectors WHERE fingerprint = :fingerprint AND id BETWEEN :first AND :last"
                    " ORDER BY id"
                ),
                {"fingerprint": self._fingerprint, "first": int(ids[0]), "last": int(ids[-1])},
            ).all()
        wanted = set(map(int, ids))
        kept = [row for row in rows if row.id in wanted]
        return np.array([row.id for row in kept], np.int64), unpack([row.vector for row in kept], self._dimension)


def refresh(database: Database, home: Path) -> None:
    """Takes removed vectors out of every index file; a file that can't be brought in line is deleted."""
    for path in home.glob("index-*.faiss"):
        with database.read() as connection:
            row = connection.execute(
                sa.text("SELECT fingerprint, vector FROM vectors WHERE fingerprint LIKE :start || '%' LIMIT 1"),
                {"start": path.stem.removeprefix("index-")},
            ).first()
        if row is None or not is_installed():
            path.unlink(missing_ok=True)
        else:
            VectorIndex(database, home, row.fingerprint, len(row.vector) // 4).sync()


def _holds(index: IndexIDMap2, ids: NDArray[np.int64]) -> bool:
    return bool(np.isin(ids, _faiss().vector_to_array(index.id_map)).all())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("the vector index", "faiss") from error
    return faiss

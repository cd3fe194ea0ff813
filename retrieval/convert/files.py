"""A file on disk to a Document: everything that can be wrong with the file itself is said here."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path

from turnout.documents import Document
from turnout.errors import DocumentError
from turnout.retrieval.convert.convert import convert_bytes
from turnout.retrieval.convert.converted import megabytes


def convert_file(path: Path, *, shown: str | None = None, max_bytes: int) -> Document:
    """Reads and converts one file.

    Args:
        shown: the source under which the document is known; the absolute path where it is None.
        max_bytes: files over this size are refused before they are read.

    Raises:
        DocumentError: the file can't be read or holds no text that can be read; the reason names which.
        MissingExtraError: the library for this format is not installed.
    """
    source = shown or absolute(path)
    data = _read(path, source, max_bytes)
    return convert_bytes(data, name=path.name, source=source, max_bytes=max_bytes)


def absolute(path: Path) -> str:
    """The path from the root, without "..", links left as they are named."""
    return os.path.normpath(path.absolute())


def size_of(path: Path, source: str) -> int:
    """Bytes of a regular file.

    Raises:
        DocumentError: it is a folder, or a pipe or device, which could block for ever.
        OSError: it can't be looked at.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DocumentError(source, "is a folder, not a file", hint="add the folder as a path: its files are found")
    if not stat.S_ISREG(status.st_mode):
        raise DocumentError(source, "is not a regular file", hint="give it on the standard input, as '-'")
    return status.st_size


def missing(path: Path, source: str) -> DocumentError:
    """The error for a path that does not exist; the hint names the nearest file beside it."""
    folder = path.parent
    if not folder.is_dir():
        return DocumentError(source, "does not exist", hint=f"there is no folder {folder} either")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    hint = f"did you mean {folder / near[0]}?" if near else f"the folder {folder} holds no file of a similar name"
    return DocumentError(source, "does not exist", hint=hint)


def refused(error: OSError | ValueError, path: Path, source: str) -> DocumentError:
    """The error for what the operating system says about a path."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return missing(path, source)
    if isinstance(error, PermissionError):
        return DocumentError(
            source, "can't be read: permission denied", hint=f"allow reading, for example: chmod u+r {path}"
        )
    return DocumentError(source, f"can't be read: {getattr(error, 'strerror', None) or error}")


def _read(path: Path, source: str, max_bytes: int) -> bytes:
    try:
        size = size_of(path, source)
        if size > max_bytes:
            raise _too_large(size, source, max_bytes)
        with path.open("rb") as file:
            # One byte more than allowed: the file may be growing.
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise refused(error, path, source) from error
    if len(data) > max_bytes:
        raise _too_large(len(data), source, max_bytes)
    return data


def _too_large(size: int, source: str, max_bytes: int) -> DocumentError:
    return DocumentError(
        source,
        f"is {megabytes(size)}, over the limit of {megabytes(max_bytes)}",
        hint="raise the limit with --max-file-mb (TURNOUT_MAX_FILE_MB), or split the file",
    )

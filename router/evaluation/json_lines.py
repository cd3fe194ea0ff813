"""Reading files with one JSON object per line, where some lines or whole files may be damaged.

Bad content never ends the reading: it is reported with file and line, and the next line is read. Fields are taken out
of an object by `text`, `texts` and `of_type`, which raise BadRow with the reason to report.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.errors import ConfigurationError

SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that can't be used, and why.

    Attributes:
        file: the path as the caller gave it (below a folder: the folder's path and the file's name).
        line: counted from 1.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


OnBad = Callable[[Malformed], None]


class BadRow(Exception):
    """A line's object that can't be used; the message is the reason."""


def files(paths: Iterable[str | Path]) -> list[Path]:
    """The .jsonl and .jsonl.gz files that the paths name; each file once, those of a folder sorted by name.

    Raises:
        ConfigurationError: a path does not exist, is of another kind, or is a folder without such files.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.name.endswith(SUFFIXES) and entry.is_file())
            if not inside:
                raise ConfigurationError(f"no .jsonl or .jsonl.gz file in {path}", hint="name the files themselves")
        elif not path.exists():
            raise ConfigurationError(f"{path} does not exist", hint="give a .jsonl or .jsonl.gz file, or a folder")
        elif not path.name.endswith(SUFFIXES):
            raise ConfigurationError(
                f"{path} is neither .jsonl nor .jsonl.gz", hint="write one JSON object per line into a .jsonl file"
            )
        else:
            inside = [path]
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def objects(file: Path, on_bad: OnBad) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's number and JSON object; blank lines are skipped, other lines that are no object are reported.

    Of a damaged gzip file, the lines before the damage are given, and the damage is reported at the line where it
    begins.
    """
    for number, line in _lines(file, on_bad):
        try:
            if line.strip():
                yield number, _object(line, first=number == 1)
        except BadRow as error:
            on_bad(Malformed(str(file), number, str(error)))


def _lines(file: Path, on_bad: OnBad) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(file, "rb") if file.name.endswith(".gz") else file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line
        if file.name.endswith(".gz") and file.stat().st_size == 0:
            raise EOFError("the file has no bytes")  # Python reads it as an empty text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        damage = Malformed(str(file), number + 1, f"damaged gzip, the rest of the file is lost: {error}")
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}", hint="check its permissions") from error
    else:
        return
    on_bad(damage)


def _object(line: bytes, *, first: bool) -> dict[str, Any]:
    try:
        # Some editors put a byte order mark in front of the first line.
        value = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 (byte {error.start + 1} of the line)") from error
    except json.JSONDecodeError as error:
        raise BadRow(f"not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise BadRow(f"not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRow(f"not a JSON object but {_kind(value)}")
    return value


def text(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A string that is not blank; null counts as missing.

    Raises:
        BadRow: it is missing and there is no default, of another type, or blank.
    """
    value = row.get(name)
    if value is None:
        if default is None:
            raise BadRow(f"{name} is missing")
        return default
    return _checked(value, name)


def texts(row: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """A list of strings that are not blank, as a tuple; None where it is missing or null.

    Raises:
        BadRow: not a list, or one of the entries is of another type or blank.
    """
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise BadRow(f"{name} must be a list of strings, not {_kind(value)}")
    return tuple(_checked(entry, f"{name}[{place}]") for place, entry in enumerate(value))


def of_type(row: Mapping[str, Any], name: str, wanted: type, default: Any) -> Any:
    """A value of exactly that type; the default where it is missing or null.

    Raises:
        BadRow: it is of another type.
    """
    value = row.get(name)
    if value is None:
        return default
    if type(value) is not wanted:  # not isinstance: true is an int to Python, not to JSON
        raise BadRow(f"{name} must be {_NAMES[wanted]}, not {_kind(value)}")
    return value


def _checked(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{name} must be a string, not {_kind(value)}")
    if not value.strip():
        raise BadRow(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow(f"{name} holds half a surrogate pair (character {error.start})") from error
    return value


_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number with a fraction",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _NAMES[type(value)]

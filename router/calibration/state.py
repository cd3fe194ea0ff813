"""The file that keeps the answers of a calibration, so that the same call goes on after a stop.

The first line says of which calibration; then comes one line a document, so that a document is there wholly or not at
all. Answers are kept, not grades: they are graded whenever they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from turnout.errors import ConfigurationError, StoreError
from turnout.router.calibration.grading import grade

Place = tuple[int, int, int]
"""(seed, size, number of the document)."""

Row = dict[str, Any]
"""One graded trial: kind, phrasing, expected, beside, depth, answer; right, share; seed, size, document, measured."""


def rows_of(line: Mapping[str, Any]) -> list[Row]:
    """The graded trials of one document."""
    place = {name: line[name] for name in ("seed", "size", "document", "measured")}
    rows = []
    for trial in line["trials"]:
        right, share = grade(trial["answer"], trial["kind"], trial["expected"], trial["beside"])
        rows.append({**trial, **place, "right": right, "share": share})
    if not rows:
        raise ValueError("no trials")
    return rows


class TrialStore:
    """The open state file of one calibration; a context manager, which holds the file's lock.

    Args:
        head: says of which calibration the answers are.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.known: dict[Place, list[Row]] = {}
        self._head = dict(head)
        self._lock = FileLock(f"{path}.lock")

    def __enter__(self) -> Self:
        """Takes up what is there; a last line that a stop tore is cut off.

        Raises:
            ConfigurationError: the file belongs to another calibration, is none, or has a damaged line.
            StoreError: it can't be read or written, or another process is writing it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"another process is writing {self.path}", hint="wait for it, or give another --state file"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.path} can't be written: {error.strerror}", hint="give another --state") from error
        try:
            self._read()
        except OSError as error:
            self._lock.release()
            raise StoreError(f"{self.path} can't be used: {error.strerror}", hint="give another --state") from error
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, line: Mapping[str, Any]) -> None:
        """Appends the answers on one document."""
        try:
            self._append(line)
        except OSError as error:
            raise StoreError(
                f"{self.path} can't be written: {error.strerror}", hint="free some space, then run it again"
            ) from error

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if lines:
            self._check_head(lines[0])
        elif not json.dumps(self._head).encode().startswith(content):
            raise self._foreign()
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        if not lines:
            self._append(self._head)
        for number, line in enumerate(lines[1:], start=2):
            try:
                fields = json.loads(line)
                self.known[fields["seed"], fields["size"], fields["document"]] = rows_of(fields)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                raise ConfigurationError(
                    f"{self.path}:{number}: not the answers on a document",
                    hint="delete the line to ask again, or give another --state file",
                ) from error

    def _check_head(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise self._foreign() from error
        if not isinstance(found, dict) or "calibration" not in found:
            raise self._foreign()
        other = [name for name in self._head if found.get(name) != self._head[name]]
        if other:
            raise ConfigurationError(
                f"{self.path} belongs to another calibration: {', '.join(other)} differ",
                hint="give the same options again, or another --state file",
            )

    def _foreign(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path} is no state of a calibration: its first line does not say of which",
            hint="give another --state file",
        )

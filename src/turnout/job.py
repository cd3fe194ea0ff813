"""The file of a job of many questions: its answers as they come, so that the same call goes on after a stop.

The first line says of which job; then comes one line an answer, as docs/answer.md describes it, with a `key` that
says what was asked over what. Answers count by that key: questions may be added, and their order changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from turnout.errors import ConfigurationError, StoreError
from turnout.record import answer_json
from turnout.types import Answer

JOB = 1
"""Version of the first line."""


class JobFile:
    """Answers of one job.

    Args:
        head: what all its answers have in common.
    """

    def __init__(self, path: str | os.PathLike[str], head: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._head = {"job": JOB, **head}
        self._lock = FileLock(f"{self.path}.lock")
        self._size = -1
        self._answered: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Counter[str]]:
        """Keeps other processes from the file; gives how often each key was answered.

        Raises:
            ConfigurationError: the file is of another job, or none, or has a damaged line.
            StoreError: it can't be read or written, or another process is at it.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"another process is answering the job in {self.path}", hint="wait for it, or name another job file"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            with self._explained():
                self._read()
            yield self._answered
        finally:
            self._lock.release()

    def add(self, key: str, answer: Answer) -> None:
        """Appends an answer; to be called while the file is taken."""
        with self._explained():
            self._append({"key": key} | answer_json(answer))
        self._answered[key] += 1

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            self._size = os.fstat(file.fileno()).st_size

    def _read(self) -> None:
        if self.path.exists() and self.path.stat().st_size == self._size:
            return
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = whole.splitlines() or [b""]
        if first:
            self._check(first)
        elif not json.dumps(self._head, ensure_ascii=False).encode().startswith(content):
            raise self._foreign()
        found: Counter[str] = Counter()
        for number, line in enumerate(lines, start=2):
            try:
                found[json.loads(line)["key"]] += 1
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    f"{self.path}:{number}: not an answer of a job",
                    hint="delete the line to ask again, or name another job file",
                ) from error
        if len(whole) < len(content):  # a stop tore the last line
            os.truncate(self.path, len(whole))
        if not first:
            self._append(self._head)
        self._answered, self._size = found, self.path.stat().st_size

    def _check(self, line: bytes) -> None:
        try:
            held = json.loads(line)
        except ValueError as error:
            raise self._foreign() from error
        if not isinstance(held, dict) or held.get("job") != JOB:
            raise self._foreign()
        other = [name for name, value in self._head.items() if held.get(name) != value]
        if other:
            raise ConfigurationError(
                f"{self.path} holds answers of another job: {', '.join(other)} differ",
                hint="give the same model and options again, or name another job file",
            )

    def _foreign(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path} is no job file: its first line does not say of which job", hint="name another file"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(f"{self.path} can't be used: {error.strerror}", hint="name another job file")


def key_of(question: str, documents: list[str]) -> str:
    """Names a question over documents, by their ids."""
    return hashlib.sha256(json.dumps([question, sorted(documents)]).encode()).hexdigest()[:32]

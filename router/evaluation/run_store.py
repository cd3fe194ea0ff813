"""The folder of a run: rows as they come, so that a killed run goes on where it stood."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from turnout.errors import ConfigurationError, StoreError
from turnout.router.evaluation.rows import ROWS_FILE, RUN_FILE, write_atomically, write_json_atomically

Row = dict[str, Any]
Key = tuple[str, str]

MUST_AGREE = ("schema", "model", "seed", "cache", "budget", "inputs")
"""What rows of one run have in common; questions and strategies may be added to a run."""


class RunStore:
    """rows.jsonl, decisions.jsonl and run.json of one run.

    Rows are appended and flushed one at a time; a line that a kill cut in half is dropped when the folder is opened
    again. `finish` puts them into their final order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / ".lock")
        self.rows: dict[Key, Row] = {}
        self.decisions: dict[str, Row] = {}

    @property
    def index(self) -> Path:
        """Where the documents of the run are kept, segmented and embedded."""
        return self.folder / "index"

    def open(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Takes up what is there.

        Args:
            facts: what run.json will say; what a run before said is kept beside it.

        Returns:
            The facts of the run as they stand now.

        Raises:
            ConfigurationError: the folder holds a run of another model, seed, budget, cache mode or input, or a
                damaged one.
            StoreError: the folder can't be written, or another process is writing it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} can't be made: {error.strerror}", hint="give another --out") from error
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"another process is writing the run in {self.folder}", hint="wait for it, or give another --out"
            ) from error
        file = self.folder / RUN_FILE
        before = next(iter(_parsed(file, [file.read_bytes()])), {}) if file.exists() else {}
        for name in MUST_AGREE if before else ():
            if before.get(name) != facts[name]:
                raise ConfigurationError(
                    f"{self.folder} holds a run with {name} {before.get(name)!r}, not {facts[name]!r}",
                    hint="give another --out, or delete the folder to start again",
                )
        self.rows = {(row["question_id"], row["strategy"]): row for row in _lines(self.folder / ROWS_FILE)}
        self.decisions = {line["id"]: line for line in _lines(self.folder / "decisions.jsonl")}
        merged = facts | {"created": before.get("created", facts["created"])}
        merged["strategies"] = list(dict.fromkeys([*before.get("strategies", []), *facts["strategies"]]))
        merged["passes"] = before.get("passes", [])
        write_json_atomically(file, merged)
        return merged

    def close(self) -> None:
        """Lets other processes write the folder."""
        self._lock.release()

    def forget(self, unwanted: Callable[[Row], bool]) -> None:
        """Drops rows, in the file too, before they are run again."""
        kept = {key: row for key, row in self.rows.items() if not unwanted(row)}
        if len(kept) < len(self.rows):
            self.rows = kept
            write_lines(self.folder / ROWS_FILE, kept.values())

    def add(self, row: Row) -> None:
        """Appends a row."""
        self.rows[row["question_id"], row["strategy"]] = row
        _append(self.folder / ROWS_FILE, row)

    def add_decision(self, decision: Row) -> None:
        """Appends a decision with all its candidates, once."""
        if decision["id"] not in self.decisions:
            self.decisions[decision["id"]] = decision
            _append(self.folder / "decisions.jsonl", decision)

    def finish(self, order: Sequence[Key], facts: dict[str, Any]) -> None:
        """Writes rows in their final order, others after them, and run.json."""
        place = {key: number for number, key in enumerate(order)}
        keys = sorted(self.rows, key=lambda key: (place.get(key, len(place)), key))
        write_lines(self.folder / ROWS_FILE, [self.rows[key] for key in keys])
        write_json_atomically(self.folder / RUN_FILE, facts)


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes one JSON value per line, all or nothing."""
    write_atomically(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def _append(path: Path, value: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _lines(path: Path) -> list[Row]:
    """The whole lines of a file, after cutting off what a kill left half written."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return _parsed(path, whole.split(b"\n"))


def _parsed(path: Path, lines: Sequence[bytes]) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(json.loads(line))
        except ValueError as error:
            raise ConfigurationError(
                f"{path}:{number} is damaged: {error}", hint="remove the line, or the folder to start again"
            ) from error
    return rows

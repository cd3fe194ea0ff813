"""The folder of a run: rows as they come, so that a killed run goes on where it stood."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from turnout.errors import ConfigurationError, StoreError
from turnout.router.evaluation import json_lines, rows
from turnout.router.evaluation.rows import (
    DECISIONS_FILE,
    ROWS_FILE,
    RUN_FILE,
    read_facts,
    write_atomically,
    write_json_atomically,
)

Row = dict[str, Any]
Key = tuple[str, str]

MUST_AGREE = (
    "schema", "turnout", "model", "prices", "embedder", "ldar", "cite", "device", "seed", "cache", "parallel", "set",
    "limit", "budget", "over_window", "inputs",
)  # fmt: skip
"""What all rows of one run have in common. Strategies may be added to a run, nothing else may change."""

BEFORE = {"over_window": "cut", "cite": "words"}
"""What a run.json means that does not say: earlier versions cut what was over the window, and cited by words."""


class RunStore:
    """rows.jsonl, decisions.jsonl and run.json of one run.

    Rows are appended one at a time; a line that a kill cut in half is dropped when the folder is opened again. `finish`
    puts them into their final order.

    Attributes:
        facts: what run.json says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.rows: dict[Key, Row] = {}
        self.decisions: dict[str, Row] = {}
        self._lock = FileLock(folder / ".lock")

    @property
    def index(self) -> Path:
        """Where the documents of the run are kept, segmented and embedded."""
        return self.folder / "index"

    def open(self, facts: Mapping[str, Any], *, other_limits: bool = False) -> None:
        """Takes up what is there.

        Args:
            facts: what run.json will say. A run that goes on keeps its date, its strategies and its passes.
            other_limits: the router's limits may be others than before; what rows of strategies were held to may not.

        Raises:
            ConfigurationError: the folder holds rows of another run, or a damaged one.
            StoreError: the folder can't be written, or another process is writing it.
        """
        self._take()
        file = self.folder / RUN_FILE
        before: dict[str, Any] = read_facts(file) if file.exists() else {}
        if not before and (self.folder / ROWS_FILE).exists():
            raise ConfigurationError(
                f"{self.folder} holds rows, but no {RUN_FILE} that says of what run",
                hint="give another --out, or delete the folder to start again",
            )
        for name in MUST_AGREE if before else ():
            held = before.get(name, BEFORE.get(name))
            if other_limits and name == "budget" and _held_to(held) == _held_to(facts[name]):
                continue
            if held != facts[name]:
                raise ConfigurationError(
                    f"{self.folder} holds a run with {name} {held!r}, not {facts[name]!r}",
                    hint="give another --out, or delete the folder to start again",
                )
        self.rows = {(row["question_id"], row["strategy"]): dict(row) for row in self._rows()}
        self.decisions = {line["id"]: line for line in self._lines(DECISIONS_FILE)}
        kept: dict[str, Any] = {name: before[name] for name in ("created", "command", "profile") if name in before}
        strategies = dict.fromkeys([*before.get("strategies", []), *facts["strategies"]])
        self.facts = {**facts, **kept, "strategies": list(strategies), "passes": before.get("passes", [])}
        self.save()

    def _take(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"another process is writing the run in {self.folder}", hint="wait for it, or give another --out"
            ) from error
        except OSError as error:
            raise StoreError(f"{self.folder} can't be written: {error.strerror}", hint="give another --out") from error

    def save(self) -> None:
        """Writes run.json."""
        write_json_atomically(self.folder / RUN_FILE, self.facts)

    def close(self) -> None:
        """Lets other processes write the folder."""
        self._lock.release()

    def forget(self, unwanted: Callable[[Row], bool]) -> None:
        """Drops rows, in the file too, before they are run again."""
        kept = {key: row for key, row in self.rows.items() if not unwanted(row)}
        if len(kept) < len(self.rows):
            self.rows = kept
            write_lines(self.folder / ROWS_FILE, kept.values())

    def forget_decisions(self) -> None:
        """Drops what the router decided, and the rows that follow from it."""
        self.forget(lambda row: row["strategy"] == "router")
        self.decisions = {}
        write_lines(self.folder / DECISIONS_FILE, ())

    def add(self, row: Row) -> None:
        """Appends a row."""
        self.rows[row["question_id"], row["strategy"]] = row
        _append(self.folder / ROWS_FILE, row)

    def add_decision(self, decision: Row) -> None:
        """Appends a decision with all its candidates, once."""
        if decision["id"] not in self.decisions:
            self.decisions[decision["id"]] = decision
            _append(self.folder / DECISIONS_FILE, decision)

    def finish(self, order: Sequence[Key]) -> None:
        """Writes rows in their final order, others after them, and run.json."""
        place = {key: number for number, key in enumerate(order)}
        keys = sorted(self.rows, key=lambda key: (place.get(key, len(place)), key))
        write_lines(self.folder / ROWS_FILE, [self.rows[key] for key in keys])
        self.save()

    def _rows(self) -> tuple[rows.Row, ...]:
        self._repair(ROWS_FILE)
        return rows.read_rows(self.folder / ROWS_FILE)

    def _lines(self, name: str) -> list[Row]:
        self._repair(name)
        path = self.folder / name
        return [line for _, line in json_lines.objects(path, _damaged)] if path.exists() else []

    def _repair(self, name: str) -> None:
        """Cuts off what a kill left half written."""
        path = self.folder / name
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _held_to(budget: Any) -> Any:
    """What of a budget holds for every strategy's rows, not for the router's alone."""
    return budget["max_prompt_tokens"]


def _damaged(line: json_lines.Malformed) -> None:
    raise ConfigurationError(str(line), hint="remove the line, or the folder to start again")


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes one JSON value per line, all or nothing."""
    write_atomically(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def _append(path: Path, value: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")

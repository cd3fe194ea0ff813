"""What a run leaves behind: one row per question and strategy, and the facts of the run beside them."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from turnout.errors import ConfigurationError

SCHEMA = 1
RUN_FILE, ROWS_FILE, DECISIONS_FILE = "run.json", "rows.jsonl", "decisions.jsonl"


class CitationCounts(TypedDict):
    """Citations of one answer: given, found in the documents, and found ones that overlap gold evidence.

    `quoted`, `quoted_found` and `quoted_supported` count those that the model itself quoted; the others are sentences
    that were matched to its answer, which are found by construction.
    """

    given: int
    found: int
    supported: int | None
    quoted: NotRequired[int]
    quoted_found: NotRequired[int]
    quoted_supported: NotRequired[int | None]


class Failure(TypedDict):
    """Why a row has no answer."""

    kind: str
    message: str


class LeftOut(TypedDict):
    """Why a strategy was not asked: it would have read more tokens than `limit` allows."""

    limit: str
    allowed: int
    needed: int


class Source(TypedDict):
    """What a citation points at: characters [start, end) of a document of the run's index."""

    doc_id: str
    start: int
    end: int


class Row(TypedDict):
    """One line of rows.jsonl; docs/evaluation.md says what each field holds."""

    question_id: str
    dataset: str
    task: str
    answer_type: str
    strategy: str
    score: float | None
    metric: str
    metrics: dict[str, float]
    answer: str
    abstained: bool
    citations: CitationCounts
    usage: dict[str, Any]
    predicted: dict[str, float | None]
    decision_id: str
    truncated: bool
    fallback: str | None
    error: Failure | None
    context_tokens: int
    cluster: str
    chosen: NotRequired[str | None]
    decide_s: NotRequired[float | None]
    refused: NotRequired[str]
    left_out: NotRequired[LeftOut]
    support: NotRequired[dict[str, Any]]
    sources: NotRequired[list[Source]]


# Not Row.__required_keys__: it does not see NotRequired where annotations are strings.
_NEEDED = Row.__annotations__.keys() - {"chosen", "decide_s", "refused", "left_out", "support", "sources"}
_NEEDED_FACTS = "turnout created finished command model device cores versions seed cache budget strategies documents"


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, its run.json and its rows; of two rows of one question and strategy, the later one."""

    folder: Path
    facts: Mapping[str, Any]
    rows: tuple[Row, ...]


def read_run(folder: str | Path) -> Run:
    """Reads a run; the last line of its rows may be half written, and is then left out. Packed rows are read too.

    Raises:
        ConfigurationError: the folder holds no run, one of another schema, or a line that is no row.
    """
    folder = Path(folder)
    file = folder / RUN_FILE
    if not file.is_file():
        raise ConfigurationError(
            f"{folder} is not an evaluation run: it has no {RUN_FILE}", hint="turnout eval run --out DIR makes one"
        )
    return Run(folder, read_facts(file), read_rows(folder / ROWS_FILE))


def read_decisions(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The router's decisions of a run, by id; none where the router was not asked.

    Raises:
        ConfigurationError: a line is damaged.
    """
    file = Path(folder) / DECISIONS_FILE
    if not file.is_file():
        return {}
    try:
        decisions = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except ValueError as error:
        raise ConfigurationError(f"{file} is damaged: {error}", hint="restore it or run again") from error
    return {decision["id"]: decision for decision in decisions}


def read_facts(file: Path) -> dict[str, Any]:
    """What a run.json says.

    Raises:
        ConfigurationError: it is damaged or of another schema.
    """
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is damaged: {error}", hint="restore it or run again") from error
    schema = facts.get("schema") if isinstance(facts, dict) else None
    if schema != SCHEMA:
        raise ConfigurationError(
            f"{file} has schema {schema!r}, this version reads {SCHEMA}",
            hint="read it with the version of turnout that wrote it, or run again",
        )
    missing = sorted(set(_NEEDED_FACTS.split()) - facts.keys())
    if missing:
        raise ConfigurationError(f"{file} has no {', '.join(missing)}", hint="restore it or run again")
    model = facts["model"]
    if (
        not isinstance(model, dict)
        or not {"name", "fingerprint"} <= model.keys()
        or type(model.get("window")) is not int
    ):
        raise ConfigurationError(
            f"{file} does not say which model it was: name, fingerprint and window", hint="restore it or run again"
        )
    return cast(dict[str, Any], facts)


def read_rows(file: Path) -> tuple[Row, ...]:
    """Reads rows, packed ones (FILE.gz) where there are no others; none where there is no file.

    Raises:
        ConfigurationError: a line is no row, or the packed file is damaged.
    """
    packed = file.with_name(f"{file.name}.gz")
    if file.exists():
        lines = file.read_bytes().split(b"\n")
    elif packed.exists():
        try:
            lines = gzip.decompress(packed.read_bytes()).split(b"\n")
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigurationError(f"{packed} is damaged: {error}", hint="restore it") from error
    else:
        return ()
    rows: dict[tuple[str, str], Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _row(line)
        except ValueError as error:
            if number == len(lines):
                break  # no line end after it: a kill cut it in half
            raise ConfigurationError(
                f"{file}:{number}: {error}", hint="remove the line and resume the run to measure it again"
            ) from error
        rows[row["question_id"], row["strategy"]] = row
    return tuple(rows.values())


def _row(line: bytes) -> Row:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    missing = sorted(_NEEDED - value.keys())
    if missing:
        raise ValueError(f"not a row: it has no {', '.join(missing)}")
    score = value["score"]
    if not isinstance(value["usage"], dict) or not isinstance(value["citations"], dict):
        raise ValueError("usage and citations are not objects")
    has_answer = value["error"] is None and "left_out" not in value
    if has_answer and not (isinstance(score, int | float) and 0 <= score <= 1):
        raise ValueError(f"score is {score!r}, not a number in 0..1")
    return cast(Row, value)


def write_atomically(file: Path, text: str) -> None:
    """Writes a text file that is there whole or not at all, with the permissions of any other new file."""
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_json_atomically(file: Path, value: Any) -> None:
    """Writes a JSON file that is there whole or not at all."""
    write_atomically(file, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

"""manifest.json: what a pulled model's folder must hold, so that damage is noticed and named."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from turnout.errors import ModelError

NAME = "manifest.json"


def sha256_of(file: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write(folder: Path, **facts: str) -> None:
    """Writes the manifest of all files in `folder`, with `facts` (name, role, version, licence, source, ...)."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }
    record = {**facts, "created": datetime.now(UTC).isoformat(timespec="seconds"), "files": files}
    (folder / NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a pulled model.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / NAME} can't be read: {error}", hint="pull the model again") from error
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict) or not record["files"]:
        raise ModelError(f"{folder / NAME} lists no files", hint="pull the model again")
    return record


def problems(folder: Path, *, hashes: bool) -> list[str]:
    """What differs from the manifest: missing files and wrong sizes, and wrong contents if `hashes`."""
    found = []
    for name, facts in read(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != facts["bytes"]:
            found.append(f"{name} has {path.stat().st_size:,} bytes, not {facts['bytes']:,}")
        elif hashes and sha256_of(path) != facts["sha256"]:
            found.append(f"{name} has another SHA-256 than when it was pulled")
    return found

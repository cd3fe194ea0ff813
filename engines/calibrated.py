"""Attention policies that were calibrated on this machine: one file for each model, in the data directory.

`turnout calibrate attention` writes them, see router/calibration/attention.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from turnout.config import ATTENTION_AUTO, ATTENTION_DENSE, Settings
from turnout.engines.device import machine
from turnout.engines.paged.policy import AttentionPolicy
from turnout.errors import ConfigurationError

VERSION = 1

Chosen = AttentionPolicy | Callable[[str], AttentionPolicy | None] | None
"""A policy, or what gives the one of a model by its fingerprint; None for dense."""


def chosen(settings: Settings) -> Chosen:
    """What the settings ask for: the calibrated policy where one was faster than dense, dense, or that of a file.

    Raises:
        ConfigurationError: the file is not there, or holds something else.
    """
    if settings.attention == ATTENTION_DENSE:
        return None
    if settings.attention == ATTENTION_AUTO:
        return partial(of_model, settings.home)
    return policy_of(Path(settings.attention).expanduser())


def file_of(home: Path, fingerprint: str) -> Path:
    """Where the calibration of a model on this machine is, or would be."""
    name = hashlib.sha256(f"{VERSION}/{fingerprint}/{machine()}".encode()).hexdigest()[:16]
    return home / "calibration" / f"attention-{name}.json"


def of_model(home: Path, fingerprint: str) -> AttentionPolicy | None:
    """The calibrated policy of a model on this machine; None where there is none.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = file_of(home, fingerprint)
    return policy_of(path) if path.exists() else None


def policy_of(path: Path) -> AttentionPolicy:
    """The policy in a calibration's file.

    Raises:
        ConfigurationError: it can't be read, or holds something else.
    """
    hint = "calibrate again (turnout calibrate attention), or go on with --attention dense"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}", hint=hint) from error
    if not isinstance(record, dict) or record.get("version") != VERSION or not isinstance(record.get("policy"), dict):
        raise ConfigurationError(f"{path} is no calibration of attention that this version knows", hint=hint)
    return AttentionPolicy.from_dict(record["policy"])


def save(home: Path, fingerprint: str, record: Mapping[str, Any]) -> Path:
    """Keeps a calibration, in the place of an earlier one; `record` has the `policy`."""
    path = file_of(home, fingerprint)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Another process may be reading it.
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps({"version": VERSION, **record}, indent=1) + "\n", encoding="utf-8")
    new.replace(path)
    return path

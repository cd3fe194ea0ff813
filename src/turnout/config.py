"""Settings: one frozen object, read from arguments first, then from TURNOUT_* variables."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from turnout.errors import ConfigurationError, StoreError, UnknownNameError

LogLevel = Literal["off", "decisions", "full"]
LOG_LEVELS: tuple[LogLevel, ...] = ("off", "decisions", "full")

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
NO_ADAPTER = "none"
MAX_FILE_MB = 100.0
"""Files over this size are refused by name: text of this size is about 25 million tokens."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and how much is kept. See docs/configuration.md.

    Attributes:
        adapter: folder of an adapter for a local model, NO_ADAPTER, or None for the one that comes with the model.
    """

    home: Path
    model: str = DEFAULT_MODEL
    model_name: str | None = None
    api_key: str | None = None
    log: LogLevel = "decisions"
    device: str | None = None
    max_file_mb: float = MAX_FILE_MB
    adapter: str | None = None

    @property
    def database(self) -> Path:
        return self.home / "turnout.db"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @classmethod
    def load(
        cls,
        *,
        home: str | os.PathLike[str] | None = None,
        model: str | None = None,
        model_name: str | None = None,
        api_key: str | None = None,
        log: str | None = None,
        device: str | None = None,
        max_file_mb: float | None = None,
        adapter: str | os.PathLike[str] | None = None,
    ) -> Settings:
        """Arguments win over TURNOUT_HOME, TURNOUT_MODEL, TURNOUT_MODEL_NAME, TURNOUT_API_KEY, TURNOUT_LOG,
        TURNOUT_DEVICE, TURNOUT_MAX_FILE_MB and TURNOUT_ADAPTER, which win over the defaults."""
        env = os.environ
        where = home or env.get("TURNOUT_HOME") or platformdirs.user_data_dir("turnout", appauthor=False)
        level = log or env.get("TURNOUT_LOG") or "decisions"
        if level not in LOG_LEVELS:
            raise UnknownNameError("log level", level, LOG_LEVELS)
        size = max_file_mb if max_file_mb is not None else env.get("TURNOUT_MAX_FILE_MB", MAX_FILE_MB)
        try:
            limit = float(size)
        except ValueError as error:
            raise ConfigurationError(
                f"TURNOUT_MAX_FILE_MB is {size!r}, not a number", hint="for example TURNOUT_MAX_FILE_MB=500"
            ) from error
        if not 0 < limit < math.inf:
            raise ConfigurationError(f"the largest file is {size} MB", hint="give a positive number of megabytes")
        return cls(
            home=Path(where).expanduser().absolute(),
            model=model or env.get("TURNOUT_MODEL") or DEFAULT_MODEL,
            model_name=model_name or env.get("TURNOUT_MODEL_NAME"),
            api_key=api_key or env.get("TURNOUT_API_KEY"),
            log=level,
            device=device or env.get("TURNOUT_DEVICE"),
            max_file_mb=limit,
            adapter=os.fspath(adapter) if adapter else env.get("TURNOUT_ADAPTER"),
        )

    def ensure_home(self) -> Path:
        """Creates the data directory, readable by its owner alone.

        Raises:
            StoreError: it can't be created or written.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.home} can't be created: {error.strerror}",
                hint="set TURNOUT_HOME to a folder that you can write",
            ) from error
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise StoreError(
                f"the data directory {self.home} can't be written",
                hint="set TURNOUT_HOME to a folder that you can write",
            )
        return self.home

"""Every error that turnout raises on purpose.

    TurnoutError
    ├── ConfigurationError      an option, an argument or the environment is wrong
    │   ├── UnknownNameError    a name that is not known; the nearest valid one is in the hint
    │   └── MissingExtraError   a library of an optional extra is not installed
    ├── BudgetError             no strategy can meet the caller's limits
    ├── DocumentError           a document can't be read
    │   └── NoDocumentsError    there is nothing to ask
    ├── StoreError              the library or the ledger can't be read or written
    ├── ModelError              model files are missing, damaged or refused
    └── EngineError             generation failed
        ├── MemoryLimitError    the prompt would not fit the memory that is free
        ├── EngineTimeoutError  the engine took longer than the caller allows
        ├── EngineBusyError     as many requests wait for the engine as may wait
        └── Cancelled           the caller gave up

A message says what happened and with which value; `hint` says what to do next; `retryable` says whether the same call
may succeed later.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TurnoutError(Exception):
    """Base of all errors raised on purpose."""

    retryable = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    @property
    def message(self) -> str:
        """What happened, without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ConfigurationError(TurnoutError):
    """An option, an argument or the environment is wrong."""


class UnknownNameError(ConfigurationError):
    """A name that is not among the known ones.

    Args:
        kind: what the name stands for, for example "strategy".
        name: the name that was given.
        known: the valid names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}", hint=f"{guess}known: {', '.join(names) or 'none'}")
        self.name = name


class MissingExtraError(ConfigurationError):
    """A library of an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}", hint=f"pip install 'turnout[{extra}]'")
        self.extra = extra


class BudgetError(TurnoutError):
    """No strategy can meet the caller's limits; the hint gives the nearest budget that is possible."""


class DocumentError(TurnoutError):
    """A document can't be read.

    Args:
        source: the path or name of the document, as the caller gave it.
        reason: what is wrong with it.
        hint: what to do about it.
    """

    def __init__(self, source: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{source}: {reason}", hint=hint)
        self.source = source
        self.reason = reason


class NoDocumentsError(DocumentError):
    """There is nothing to ask: no path matched, or the library is empty."""


class StoreError(TurnoutError):
    """The library or the ledger can't be read or written."""


class ModelError(TurnoutError):
    """Model files are missing, damaged, or of a kind that is refused (remote code, pickle)."""


class EngineError(TurnoutError):
    """Generation failed."""


class MemoryLimitError(EngineError):
    """The prompt would not fit the memory that is free."""


class KernelError(EngineError):
    """What a kernel was given does not fit together; nothing was launched."""


class EngineTimeoutError(EngineError):
    """The engine took longer than the caller allows."""

    retryable = True


class EngineBusyError(EngineError):
    """As many requests wait for the engine as may wait.

    Args:
        name: of the model.
        waiting: how many wait; most: how many may.
        retry_after_s: when one of them is expected to be begun.
    """

    retryable = True

    def __init__(self, name: str, waiting: int, most: int, retry_after_s: float) -> None:
        super().__init__(
            f"{waiting:,} requests wait for {name}, and no more than {most:,} may",
            hint=f"try again in about {retry_after_s:.1f} s, or ask fewer at once",
        )
        self.retry_after_s = retry_after_s


class Cancelled(EngineError):
    """The caller gave up before the answer was complete."""

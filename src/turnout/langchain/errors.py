"""What callers of LangChain see of our errors: its own shapes, with our hint. Each is a TurnoutError as well.

    LangChainException
    ├── RequestError(ValueError)                  the request can't be meant: messages, documents, options, a budget
    ├── UnsupportedError(NotImplementedError)     the model can't do that: tools, pictures
    └── EngineFailure                             the model failed or is not here; `retryable`: again may help

`__cause__` is the error of ours, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import LangChainException

from turnout.errors import EngineError, ModelError, StoreError, TurnoutError


class RequestError(TurnoutError, LangChainException, ValueError):
    """The request can't be meant as it is: nothing was generated."""


class UnsupportedError(TurnoutError, LangChainException, NotImplementedError):
    """The model can't do that."""


class EngineFailure(TurnoutError, LangChainException):
    """The model, or the library of documents, failed or is not here."""

    @property
    def is_retryable(self) -> bool:
        """`retryable`, by the name that LangChain's own errors have for it."""
        return self.retryable


@contextmanager
def shaped() -> Iterator[None]:
    """Gives the errors of ours inside the block LangChain's shape."""
    try:
        yield
    except LangChainException:
        raise
    except TurnoutError as error:
        kind = EngineFailure if isinstance(error, EngineError | ModelError | StoreError) else RequestError
        raise kind(error.message, hint=error.hint, retryable=error.retryable) from error

"""The `Turnout` behind an object of LangChain: one that is shared, or one of its own that opens at first use."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

from turnout.client import Turnout
from turnout.langchain.errors import RequestError, shaped


class Opened:
    """Holds a `Turnout`, and those of other models that calls have asked for.

    Args:
        turnout: itself; it is closed here only if it is `own`.
    """

    def __init__(self, turnout: Turnout, *, own: bool) -> None:
        self._turnout = turnout
        self._own = own
        self._others: dict[str, Turnout] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, turnout: Turnout | None, **options: Any) -> Opened:
        """One that is shared, or made of options.

        Raises:
            RequestError: options are given for one that is open already. An API key changes nothing and is let pass.
        """
        given = [name for name, value in options.items() if value is not None and name != "api_key"]
        if turnout is not None and given:
            raise RequestError(
                f"{', '.join(given)} can't be changed of a turnout that is open already",
                hint="give either `turnout` or what one is made of",
            )
        return cls(turnout or Turnout(**options), own=turnout is None)

    @cached_property
    def label(self) -> str:
        """What the model is called before anything is opened."""
        with shaped():
            return self._turnout.label

    def turnout(self, model: str | None = None) -> Turnout:
        """That of a model; the own one without a name, or by its own name."""
        if model is None or model == self.label:
            return self._turnout
        with self._lock:
            if model not in self._others:
                self._others[model] = self._turnout.with_model(model)
            return self._others[model]

    def close(self) -> None:
        """Closes what was opened here."""
        with self._lock:
            for other in self._others.values():
                other.close()
            self._others.clear()
        if self._own:
            self._turnout.close()

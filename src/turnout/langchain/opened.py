"""The `Turnout` behind an object of LangChain: one that is shared, or one of its own that opens at first use."""

from __future__ import annotations

import threading
from dataclasses import dataclass
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
        self._others: list[_Other] = []
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

    def turnout(self) -> Turnout:
        """The own one, whose library others share."""
        return self._turnout

    def take(self, model: str | None = None) -> Turnout:
        """That of a model, to be given back by `release`; the own one without a name, or by its own name. One other is
        kept, the last that was asked for; see `close_unused`."""
        if model is None or model == self.label:
            return self._turnout
        with self._lock:
            known = next((other for other in self._others if other.model == model), None)
            other = known or _Other(model, self._turnout.with_model(model))
            other.users += 1
            self._others = [*(one for one in self._others if one is not other), other]
            return other.turnout

    def release(self, turnout: Turnout) -> None:
        """Gives back what was taken."""
        with self._lock:
            for other in self._others:
                other.users -= other.turnout is turnout

    def close_unused(self) -> None:
        """Closes the others but for the last, and but for those that are in the middle of an answer."""
        with self._lock:
            gone = [other for other in self._others[:-1] if not other.users]
            self._others = [other for other in self._others if other not in gone]
        for other in gone:
            other.turnout.close()

    def close(self) -> None:
        """Closes what was opened here."""
        with self._lock:
            others, self._others = self._others, []
        for other in others:
            other.turnout.close()
        if self._own:
            self._turnout.close()


@dataclass(eq=False, slots=True)
class _Other:
    model: str
    turnout: Turnout
    users: int = 0

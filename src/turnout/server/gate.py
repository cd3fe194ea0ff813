"""How much is let in: questions in flight, and what each key may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from turnout.errors import EngineBusyError
from turnout.server.errors import Refused
from turnout.tokens import Token

FIRST_GUESS_S = 2.0
"""How long a question takes, before one was answered."""

_REMEMBERED = 0.2  # weight of the latest question's seconds
_MINUTE_S = 60.0


@dataclass(slots=True)
class _Key:
    """What is known of the holder of a token: the requests that it may still make, and questions in flight."""

    left: float
    at: float
    going: int = 0


@dataclass(slots=True)
class Gate:
    """Counts on the event loop alone, so nothing is locked.

    Args:
        name: of the model, for the message.
        most: questions in flight; more are refused for now.
    """

    name: str
    most: int
    going: int = 0
    mean_s: float = FIRST_GUESS_S
    _keys: dict[str, _Key] = field(default_factory=dict)

    def request(self, token: Token | None) -> None:
        """Counts a request.

        Raises:
            Refused: it is one too many for its key in a minute.
        """
        if token is None or token.per_minute is None:
            return
        key, now, rate = self._key(token), time.monotonic(), token.per_minute / _MINUTE_S
        key.left = min(float(token.per_minute), key.left + (now - key.at) * rate)
        key.at = now
        if key.left < 1:
            raise Refused(
                429,
                f"the key {token.name} may make {token.per_minute} requests a minute",
                "rate_limit_exceeded",
                retry_after_s=(1 - key.left) / rate,
            )
        key.left -= 1

    @contextmanager
    def question(self, token: Token | None) -> Iterator[None]:
        """Holds a place for a question.

        Raises:
            EngineBusyError: all places are taken.
            Refused: those of its key are.
        """
        if self.going >= self.most:
            raise EngineBusyError(self.name, self.going, self.most, self.mean_s)
        key = None if token is None else self._key(token)
        if token is not None and key is not None and token.at_once is not None and key.going >= token.at_once:
            raise Refused(
                429,
                f"the key {token.name} may ask {token.at_once} questions at once",
                "rate_limit_exceeded",
                retry_after_s=self.mean_s,
            )
        begin = time.monotonic()
        self.going += 1
        if key is not None:
            key.going += 1
        try:
            yield
        finally:
            self.going -= 1
            self.mean_s += _REMEMBERED * (time.monotonic() - begin - self.mean_s)
            if key is not None:
                key.going -= 1

    def _key(self, token: Token) -> _Key:
        return self._keys.setdefault(token.id, _Key(float(token.per_minute or 0), time.monotonic()))

"""What a server probably still has of the prompts that it has read.

A server keeps keys and values of prompts for those that begin alike, until it needs the memory. Which of them it still
has nobody outside knows; afterwards it may say so (`cached_tokens`). Prompts are remembered here by the hashes of their
beginnings, each document one further, with the time at which they were last sent. How much of what was sent some
time ago is still there is learned from what the server says, by age: for each power of 4 seconds the mean of a Beta
distribution, old sightings discounted, that begins with a half-life of HALF_LIFE_S. Until the server has reported a hit
nothing is expected of it: many have no such cache, or don't tell.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HALF_LIFE_S = 600.0
"""What is taken to be half gone before a server has told: five to ten minutes is what OpenAI's guide to prompt caching
names for prompts that are not asked again."""

PRIOR_SIGHTINGS = 1.0
DISCOUNT = 0.9
MOST_BEGINNINGS = 8192
SHORTEST = 64
"""Bytes: a beginning that is less than this longer than the one before it is not remembered by itself."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """`share` is that of the prompt's bytes which end here."""

    key: bytes
    share: float


Beginnings = tuple[Beginning, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A stretch of a prompt that was sent before: shares of the prompt, and the seconds since."""

    start: float
    end: float
    age_s: float


def beginnings(messages: Sequence[tuple[str, Sequence[str]]], namespace: str | None) -> Beginnings:
    """The beginnings of a prompt, shortest first.

    Args:
        messages: (role, pieces of text), as they are sent.
        namespace: what the server keeps of one is not there for another.
    """
    seen = hashlib.blake2b(repr(namespace).encode("utf-8", "surrogatepass"), digest_size=16)
    found, length, last = [], 0, 0
    for role, pieces in messages:
        seen.update(b"\0" + role.encode() + b"\0")
        for piece in pieces:
            data = piece.encode("utf-8", "surrogatepass")
            seen.update(data)
            length += len(data)
            if length - last >= SHORTEST:
                found.append((seen.digest(), length))
                last = length
    return tuple(Beginning(key, end / length) for key, end in found)


class ServerCache:
    """Safe to use from several threads.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: OrderedDict[bytes, float] = OrderedDict()
        self._seen: defaultdict[int, float] = defaultdict(float)
        self._hits: defaultdict[int, float] = defaultdict(float)
        self._keeps = False
        self._lock = threading.Lock()

    @property
    def keeps(self) -> bool:
        """The server has said that it found something in its cache."""
        return self._keeps

    def known(self, prompt: Beginnings) -> tuple[Known, ...]:
        """What of a prompt was sent before, from its start on."""
        found, start, now = [], 0.0, self._clock()
        with self._lock:
            for beginning in prompt:
                sent = self._sent.get(beginning.key)
                if sent is None:
                    break
                found.append(Known(start, beginning.share, now - sent))
                start = beginning.share
        return tuple(found)

    def expected(self, prompt: Beginnings, least: float = 0.0) -> float:
        """The share of a prompt that the server is expected to have still.

        Args:
            least: stretches of which less than this share is expected don't count, nor does what follows them.
        """
        if not self._keeps:
            return 0.0
        known, total = self.known(prompt), 0.0
        with self._lock:
            for stretch in known:
                alive = self._alive(stretch.age_s)
                if alive < least:
                    break
                total += (stretch.end - stretch.start) * alive
        return total

    def read(self, prompt: Beginnings) -> None:
        """The server has just read this prompt."""
        now = self._clock()
        with self._lock:
            for beginning in prompt:
                self._sent[beginning.key] = now
                self._sent.move_to_end(beginning.key)
            while len(self._sent) > MOST_BEGINNINGS:
                self._sent.popitem(last=False)

    def learn(self, known: Sequence[Known], cached: float) -> None:
        """What the server says that it found.

        Args:
            known: of the prompt, before it was sent.
            cached: share of the prompt.
        """
        with self._lock:
            self._keeps = self._keeps or cached > 0
            for stretch in known:
                length = stretch.end - stretch.start
                weight = length / known[-1].end
                hit = min(max((cached - stretch.start) / length, 0.0), 1.0)
                bucket, kept = _bucket(stretch.age_s), DISCOUNT**weight
                self._seen[bucket] = kept * self._seen[bucket] + weight
                self._hits[bucket] = kept * self._hits[bucket] + weight * hit

    def forget(self) -> None:
        """Lets go of what was sent."""
        with self._lock:
            self._sent.clear()

    def _alive(self, age_s: float) -> float:
        bucket = _bucket(age_s)
        prior = PRIOR_SIGHTINGS * math.pow(0.5, age_s / HALF_LIFE_S)
        return (self._hits[bucket] + prior) / (self._seen[bucket] + PRIOR_SIGHTINGS)


def _bucket(age_s: float) -> int:
    return int(math.log(max(age_s, 1.0), 4))

"""A segment cache on a Redis server (or Valkey), shared by processes and machines."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from turnout.compression import redis_scripts as scripts
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.sealed import BY_SEGMENT, HEAD, head_of, kind_of, name_of, opened, sealed
from turnout.compression.tally import Tally, together
from turnout.config import CACHE_SCHEMES
from turnout.documents import SegmentKey
from turnout.errors import ConfigurationError, MissingExtraError, StoreError
from turnout.types import CacheStatistics

if TYPE_CHECKING:
    from redis import Redis

    from turnout.contracts import Claims, SegmentCache

PREFIX = "turnout:1:"
OVERHEAD = 400
"""Bytes that the server needs for an entry besides its value, at most: so its memory stays within the limit."""

TIMEOUT_S = 1.0
"""To connect, and for an answer."""

RETRY_S = 15.0
"""After a failure the server is left alone so long."""

LEASE_S = 60.0
"""After which a claim ends whose owner does not renew it."""

AT_ONCE = 128
"""Keys of one command, or commands of one round trip."""

SCANNED = 1000
"""Names that are looked at in one round trip."""

CLAIM = "claim"

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class RedisCache:
    """Within `limit_bytes` over all who share the server, the least recently used going first; what is not used for
    `ttl_s` goes too. A value that is damaged, or of another key, counts as not there.

    A server that can't be reached costs values, never an answer: what this process computes meanwhile is kept in its
    memory, the log says so once, and the server is tried again every RETRY_S.

    Args:
        url: redis://[user:password@]host:port/database, rediss:// for TLS, or unix://path.
        required: a server that can't be used at first contact is an error.
        near: where values go while there is no server.
    """

    def __init__(
        self,
        url: str,
        limit_bytes: int = 1 << 30,
        ttl_s: int = 30 * 86_400,
        *,
        required: bool = False,
        near: SegmentCache | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        """
        Raises:
            ConfigurationError: the URL names no such server.
        """
        if not url.startswith(CACHE_SCHEMES):
            raise ConfigurationError(
                f"{shown(url)} is no URL of a cache", hint="for example redis://localhost:6379/0, or rediss:// for TLS"
            )
        self.limit_bytes, self.ttl_s = limit_bytes, ttl_s
        self._url = url
        self._required = required
        self._near: SegmentCache = near if near is not None else MemoryCache()
        self._lease_ms = int(1000 * lease_s)
        self._tally = Tally()
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._opening = threading.Lock()
        self._client: Redis | None = None
        self._quiet_until = 0.0
        self._is_down = False

    # --- values ------------------------------------------------------------------------------------------------------

    def get(self, key: SegmentKey) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[SegmentKey]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for begin in range(0, len(keys), AT_ONCE):
            some = keys[begin : begin + AT_ONCE]
            found += self._asked(partial(self._fetched, some)) or [None] * len(some)
        for place, key in enumerate(keys):
            if found[place] is None:
                found[place] = self._near.get(key)
            self._tally.asked(key, found=found[place] is not None)
        return found

    def has(self, keys: Sequence[SegmentKey]) -> list[bool]:
        def work(client: Redis) -> list[bool]:
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.exists(_name(key))
            return [bool(there) for there in pipe.execute()]

        near = self._near.has(keys)
        far = (self._asked(work) if keys else None) or [False] * len(keys)
        return [here or there for here, there in zip(near, far, strict=True)]

    def put(self, key: SegmentKey, value: bytes) -> None:
        self.put_many([(key, value)])

    def put_many(self, values: Iterable[tuple[SegmentKey, bytes]]) -> None:
        every = list(values)
        given = [(key, value) for key, value in every if len(value) + OVERHEAD <= self.limit_bytes]
        refused = [key for key, value in every if len(value) + OVERHEAD > self.limit_bytes]
        for begin in range(0, len(given), AT_ONCE):
            some = given[begin : begin + AT_ONCE]
            if not self._asked(partial(self._kept, some)):
                self._near.put_many(some)
                refused += [key for key, _ in some]
        if refused:  # nobody has to wait for what will not be here
            self.release(refused)

    def _fetched(self, keys: Sequence[SegmentKey], client: Redis) -> list[bytes | None]:
        contents: Any = client.mget([_name(key) for key in keys])
        values = [None if held is None else self._opened(key, held) for key, held in zip(keys, contents, strict=True)]
        used = [
            _member(key, held) for key, held, value in zip(keys, contents, values, strict=True) if value is not None
        ]
        if used:
            client.register_script(scripts.TOUCH)([], [PREFIX, self.ttl_s, *used])
        wrong = [_name(key) for key, held, value in zip(keys, contents, values, strict=True) if held and value is None]
        if wrong:
            client.unlink(*wrong)
        return values

    def _opened(self, key: SegmentKey, content: bytes) -> bytes | None:
        value = opened(key, content)
        if value is None:
            _log.warning("a damaged value of the cache at %s is made anew", shown(self._url))
        return value

    def _kept(self, values: Sequence[tuple[SegmentKey, bytes]], client: Redis) -> bool:
        script, pipe = client.register_script(scripts.PUT), client.pipeline(transaction=False)
        fixed = (self.ttl_s, self.limit_bytes, self._owner, OVERHEAD)
        for key, value in values:
            script([], [PREFIX, kind_of(key), name_of(key), sealed(key, value), *fixed], client=pipe)
        pipe.execute()
        return True

    # --- who computes what -------------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[SegmentKey]) -> list[bytes | bool]:
        def work(client: Redis) -> list[bytes | bool]:
            script, pipe = client.register_script(scripts.CLAIM), client.pipeline(transaction=False)
            for key in keys:
                script([], [PREFIX, kind_of(key), name_of(key), self._owner, self._lease_ms], client=pipe)
            return [self._claimed(key, found) for key, found in zip(keys, pipe.execute(), strict=True)]

        # Without a server nobody else is known of.
        return self._asked(work) or [True] * len(keys)

    def _claimed(self, key: SegmentKey, found: Any) -> bytes | bool:
        if not isinstance(found, bytes):
            return bool(found)
        value = self._opened(key, found)
        return True if value is None else value  # a damaged one is made by each who needs it

    def renew(self, keys: Sequence[SegmentKey]) -> None:
        self._each(scripts.RENEW, keys, self._owner, self._lease_ms)

    def release(self, keys: Sequence[SegmentKey]) -> None:
        self._each(scripts.RELEASE, keys, self._owner)

    def _each(self, source: str, keys: Sequence[SegmentKey], *arguments: Any) -> None:
        def work(client: Redis) -> bool:
            script, pipe = client.register_script(source), client.pipeline(transaction=False)
            for key in keys:
                script([f"{PREFIX}{CLAIM}:{name_of(key)}"], arguments, client=pipe)
            pipe.execute()
            return True

        self._asked(work)

    # --- the whole of it ---------------------------------------------------------------------------------------------

    def statistics(self) -> CacheStatistics:
        return together(self.kinds().values())

    def kinds(self) -> Mapping[str, CacheStatistics]:
        """Hits and misses are this process's, all else is the server's."""
        totals: Any = self._asked(lambda client: client.hgetall(f"{PREFIX}totals")) or {}
        fields = {name.decode(): int(value) for name, value in totals.items()}
        names = {name.partition(":")[0] for name in fields if ":" in name}
        held = {kind: (fields.get(f"{kind}:entries", 0), fields.get(f"{kind}:bytes", 0)) for kind in names}
        return self._tally.kinds(held, {kind: fields.get(f"{kind}:evicted", 0) for kind in names})

    def drop(self, segments: Collection[str]) -> None:
        """Removes what this process put, and others. Looks at the name of every value on the server.

        Raises:
            StoreError: the server can't be used; what it has stays.
        """
        heads = {head_of(segment) for segment in segments}

        def work(client: Redis) -> bool:
            script = client.register_script(scripts.DROP)
            for names in _scanned(client):
                gone = [name for name in names if _is_of(name, heads)]
                if gone:
                    script([], [PREFIX, OVERHEAD, *gone])
            return True

        self._near.drop(segments)
        self._asked(work, strictly=True)

    def clear(self) -> None:
        """Removes every value of turnout's on the server, of whoever put it."""

        def work(client: Redis) -> bool:
            for names in _scanned(client):
                client.unlink(*names)
            return True

        self._near.clear()
        self._asked(work)

    def check(self) -> None:
        """Raises StoreError: the server can't be used."""
        self._asked(lambda client: client.ping(), strictly=True)

    # --- the server --------------------------------------------------------------------------------------------------

    def _asked(self, work: Callable[[Redis], Result], *, strictly: bool = False) -> Result | None:
        """What the server says; None where it can't be asked."""
        import_error = _import_error()
        if import_error is not None:
            raise import_error
        from redis import RedisError, ResponseError

        if not strictly and time.monotonic() < self._quiet_until:
            return None
        try:
            first = self._client is None
            client = self._connection()
            if first and self._required:
                client.ping()
            found = work(client)
        except (RedisError, OSError, ValueError) as error:
            if strictly or (self._required and first):
                self._client = None
                raise StoreError(
                    f"the cache at {shown(self._url)} can't be used: {error}",
                    hint="check its address, password and TLS, or do without: TURNOUT_CACHE_REQUIRED=0",
                    retryable=True,
                ) from error
            # A server that refuses one command (no memory left, no permission) is there for others.
            if not isinstance(error, ResponseError):
                self._quiet_until = time.monotonic() + RETRY_S
            if not self._is_down:
                _log.warning("the cache at %s is not used: %s", shown(self._url), error)
            self._is_down = True
            return None
        self._is_down = False
        return found

    def _connection(self) -> Redis:
        with self._opening:
            if self._client is None:
                from redis import ConnectionError as Broken
                from redis import Redis
                from redis.backoff import NoBackoff
                from redis.retry import Retry

                self._client = Redis.from_url(
                    self._url,
                    socket_connect_timeout=TIMEOUT_S,
                    socket_timeout=TIMEOUT_S,
                    # Once, for a connection that a restarted server has closed.
                    retry=Retry(NoBackoff(), 1, supported_errors=(Broken,)),
                )
            return self._client

    def close(self) -> None:
        """Gives the connections back; safe to call twice."""
        with self._opening:
            if self._client is not None:
                self._client.close()
                self._client = None


def shown(url: str) -> str:
    """A URL without what is secret in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the given address"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _scanned(client: Redis) -> Iterator[list[bytes]]:
    """The names of all that is turnout's, some at a time."""
    found = client.scan_iter(match=f"{PREFIX}*", count=SCANNED)
    while names := list(islice(found, SCANNED)):
        yield names


def _is_of(name: bytes, heads: Collection[str]) -> bool:
    """Whether a name of the server is that of a value to be dropped."""
    kind, _, rest = name.decode(errors="replace").removeprefix(PREFIX).partition(":")
    return bool(rest) and kind != CLAIM and (kind not in BY_SEGMENT or rest[:HEAD] in heads)


def _name(key: SegmentKey) -> str:
    return f"{PREFIX}{kind_of(key)}:{name_of(key)}"


def _member(key: SegmentKey, content: bytes) -> str:
    return f"{kind_of(key)}:{name_of(key)}:{len(content) + OVERHEAD}"


def _import_error() -> MissingExtraError | None:
    try:
        import redis  # noqa: F401
    except ImportError:
        return MissingExtraError("a cache on a Redis server", "redis")
    return None


if TYPE_CHECKING:
    _: type[SegmentCache] = RedisCache
    _claims: type[Claims] = RedisCache

"""The segment caches of an installation: on the Redis server of the settings, or in the data directory."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from turnout.compression.file_cache import FileCache
from turnout.compression.redis_cache import RedisCache, shown
from turnout.config import Settings

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache

SCORES_BYTES = 16 << 20
"""Most of the scores of sentences that are kept on disk: some 30,000 small files, those of a thousand questions."""


class Caches:
    """Opens nothing before something is asked for.

    Args:
        settings: say where values are kept, and how many.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def scores(self) -> SegmentCache:
        """Of what was said of sentences for a question; no text is in it."""
        return self._server or FileCache(self._settings.home / "scores", SCORES_BYTES)

    @cached_property
    def segments(self) -> SegmentCache:
        """Of what is made of segments whatever is asked. Text can be got back from some of it."""
        return self._server or FileCache(self._settings.home / "segments", self._limit)

    @property
    def each(self) -> tuple[SegmentCache, ...]:
        """All there are, each once."""
        return (self._server,) if self._server is not None else (self.scores, self.segments)

    @property
    def where(self) -> str:
        """The server without its password, or the folder."""
        url = self._settings.cache_url
        return str(self._settings.home) if url is None else shown(url)

    def clear(self) -> None:
        """Removes every value, also those of others who share the server."""
        for cache in self.each:
            cache.clear()

    def check(self) -> None:
        """Raises StoreError, ConfigurationError: there is a server, and it can't be used."""
        if self._server is not None:
            self._server.check()

    def close(self) -> None:
        """Gives connections back."""
        server = self.__dict__.get("_server")
        if server is not None:
            server.close()

    @property
    def _limit(self) -> int:
        return int(self._settings.cache_mb * 2**20)

    @cached_property
    def _server(self) -> RedisCache | None:
        settings = self._settings
        if settings.cache_url is None:
            return None
        return RedisCache(settings.cache_url, self._limit, settings.cache_ttl_s, required=settings.cache_required)

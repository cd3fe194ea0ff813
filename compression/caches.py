"""The segment caches of an installation: on the Redis server of the settings, or in the data directory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from typing import TYPE_CHECKING

from turnout.compression.file_cache import FileCache
from turnout.compression.redis_cache import RedisCache, shown
from turnout.config import Settings
from turnout.errors import StoreError

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
        return self._server or self._folder

    @property
    def each(self) -> tuple[SegmentCache, ...]:
        """All there are, each once."""
        return (self._server,) if self._server is not None else (self.scores, self.segments)

    @property
    def where(self) -> str:
        """The server without its password, or the folder."""
        url = self._settings.cache_url
        return str(self._settings.home) if url is None else shown(url)

    def drop(self, removed: Collection[str], held: Callable[[Collection[str]], set[str]]) -> None:
        """Removes what is of segments that no document has any more. In the data directory that is whatever is of no
        document of the library, as of an earlier version; on a server, which others use too, what is of `removed`. What
        was said for questions goes as a whole: it is kept by texts that are no segments.

        Args:
            removed: hashes of segments of documents that are gone.
            held: those of some hashes that documents of the library still have.

        Raises:
            StoreError: the server can't be used; what it has stays.
        """
        self._folder.drop((kept := self._folder.segments()) - held(kept))
        if self._server is None:
            self.scores.clear()
            return
        try:
            self._server.drop(set(removed) - held(removed))
        except StoreError as error:
            raise StoreError(
                f"the documents are removed, but not what is kept of them: {error.message}",
                hint="once the server is there again: turnout cache clear",
            ) from error

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

    @cached_property
    def _folder(self) -> FileCache:
        return FileCache(self._settings.home / "segments", self._limit)

    @property
    def _limit(self) -> int:
        return int(self._settings.cache_mb * 2**20)

    @cached_property
    def _server(self) -> RedisCache | None:
        settings = self._settings
        if settings.cache_url is None:
            return None
        return RedisCache(settings.cache_url, self._limit, settings.cache_ttl_s, required=settings.cache_required)

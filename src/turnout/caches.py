"""What is kept of segments, for those who look after it: `turnout cache`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from turnout.config import Settings
from turnout.progress import Progress, silent


def statistics(**options: Any) -> dict[str, Any]:
    """`where` values are kept, `limit_bytes` of them, and of each of `kinds`: entries, bytes, and on a server how many
    had to go (`evicted`).

    Args:
        options: as of `Settings.load`.

    Raises:
        StoreError: the server can't be used.
    """
    from turnout.compression.caches import Caches

    settings = Settings.load(**options)
    caches = Caches(settings)
    try:
        caches.check()
        kinds: dict[str, dict[str, int]] = {}
        for cache in caches.each:
            for kind, found in cache.kinds().items():
                held = dataclasses.asdict(found)
                kinds[kind] = {name: held[name] for name in ("entries", "bytes", "evicted")}
        return {"where": caches.where, "limit_bytes": int(settings.cache_mb * 2**20), "kinds": kinds}
    finally:
        caches.close()


def warm(
    paths: Sequence[str], progress: Progress = silent, *, strategy: str = "soft", **options: Any
) -> dict[str, int]:
    """Makes what a strategy keeps of documents; see `Turnout.soften`.

    Args:
        paths: as `Turnout.ask` takes documents; the whole library without any.
        options: as of `Turnout`.
    """
    from turnout.client import Turnout

    with Turnout(progress=progress, **options) as t:
        return t.soften(paths or t.documents(), strategy=strategy)


def clear(**options: Any) -> dict[str, Any]:
    """Removes every value; returns what `statistics` said before.

    Raises:
        StoreError: the server can't be used.
    """
    from turnout.compression.caches import Caches

    before = statistics(**options)
    caches = Caches(Settings.load(**options))
    try:
        caches.clear()
    finally:
        caches.close()
    return before

"""What a segment cache does not have is computed once, by whoever comes first, in this process or another."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from turnout.contracts import Claims
from turnout.documents import SegmentKey
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.contracts import SegmentCache

BATCH = 32
"""Segments that one process claims at a time, so that several share the work on one document."""

POLL_S = 0.02
"""Between looks at what others compute."""

STAGE = "compressing"

Make = Callable[[Sequence[int]], Iterable[bytes]]


def values(
    cache: SegmentCache,
    keys: Sequence[SegmentKey],
    make: Make,
    is_sound: Callable[[int, bytes], bool],
    watch: Watch | None = None,
    at_once: int | None = None,
) -> list[bytes]:
    """The value of each key, in order; what was found, or made, is in the cache.

    Args:
        make: computes those at some places of `keys`, one after the other; a key that is there twice is made once.
        is_sound: whether what the cache has can be the value at a place; what can't be is made anew.
        at_once: values that are asked for, or claimed, in one go; all, and BATCH, by default.

    Raises:
        Cancelled: the watch said so; what was made until then is kept, and nobody waits for the rest.
    """
    watch = watch or Watch()
    first: dict[SegmentKey, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    wanted, found = list(first), dict[SegmentKey, bytes]()
    portion = at_once or max(len(wanted), 1)
    for begin in range(0, len(wanted), portion):
        some = wanted[begin : begin + portion]
        for key, value in zip(some, cache.get_many(some), strict=True):
            if value is not None and is_sound(first[key], value):
                found[key] = value
    left = deque(key for key in first if key not in found)
    missing, idle = len(left), 0
    while left:
        watch.go_on()
        batch = [left.popleft() for _ in range(min(at_once or BATCH, len(left)))]
        claimed: list[bytes | bool] = cache.claim(batch) if isinstance(cache, Claims) else [True] * len(batch)
        ours = []
        for key, claim in zip(batch, claimed, strict=True):
            if claim is False:
                left.append(key)
            elif isinstance(claim, bytes) and is_sound(first[key], claim):
                found[key] = claim
            else:
                ours.append(key)
        for key, value in _made(cache, ours, [first[key] for key in ours], make):
            found[key] = value
            watch.progress(STAGE, len(found) + missing - len(first), missing)
            watch.go_on()
        idle = idle + len(batch) if claimed.count(False) == len(batch) else 0
        if left and idle >= len(left):  # all that is left is with others
            idle = 0
            time.sleep(POLL_S)
    return [found[key] for key in keys]


def _made(
    cache: SegmentCache, keys: Sequence[SegmentKey], places: Sequence[int], make: Make
) -> Iterable[tuple[SegmentKey, bytes]]:
    """Computes, and puts each value as soon as it is there."""
    todo = list(keys)
    try:
        for key, value in zip(keys, make(places) if places else (), strict=True):
            cache.put(key, value)
            todo.remove(key)
            if isinstance(cache, Claims) and todo:
                cache.renew(todo)
            yield key, value
    finally:
        if isinstance(cache, Claims) and todo:
            cache.release(todo)

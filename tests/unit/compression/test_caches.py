"""Segment caches: bounded, shared, and never a wrong value."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.redis_server import RedisServer

from turnout.compression.file_cache import FileCache
from turnout.compression.memory_cache import OVERHEAD, MemoryCache
from turnout.compression.redis_cache import RedisCache
from turnout.contracts import SegmentCache
from turnout.documents import SegmentKey

Make = Callable[[int], SegmentCache]


def key(number: int, kind: str = "scores", fingerprint: str = "model") -> SegmentKey:
    return SegmentKey(f"{number:064x}", kind, fingerprint)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture(params=["memory", "file", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "memory":
        yield MemoryCache
    elif request.param == "file":
        yield lambda limit: FileCache(tmp_path / "cache", limit)
    else:
        url = request.getfixturevalue("server").url
        RedisCache(url).clear()
        made: list[RedisCache] = []

        def redis(limit: int) -> RedisCache:
            made.append(RedisCache(url, limit))
            return made[-1]

        yield redis
        for cache in made:
            cache.close()


def test_a_value_is_found_by_all_of_its_key(make: Make) -> None:
    cache = make(1 << 20)
    cache.put(key(1), b"\x00one")
    assert cache.get(key(1)) == b"\x00one"
    for other in (key(2), key(1, "soft"), key(1, fingerprint="another")):
        assert cache.get(other) is None
    cache.put(key(1), b"")
    assert cache.get(key(1)) == b""
    found = cache.statistics()
    assert (found.hits, found.misses, found.entries) == (2, 3, 1)
    assert {kind: (each.hits, each.misses, each.entries) for kind, each in cache.kinds().items()} == {
        "scores": (2, 2, 1),
        "soft": (0, 1, 0),
    }
    assert cache.has([key(1), key(2)]) == [True, False]
    assert cache.statistics().hits == 2


def test_several_at_once_and_none_at_all(make: Make) -> None:
    cache = make(1 << 20)
    cache.put_many((key(number), bytes([number])) for number in range(200))
    assert cache.get_many([key(201), key(7), key(199), key(7)]) == [None, b"\x07", bytes([199]), b"\x07"]
    assert (cache.get_many([]), cache.has([])) == ([], [])
    cache.put_many([])
    cache.clear()
    assert cache.get(key(7)) is None
    assert cache.statistics().entries == 0


def test_what_is_of_some_segments_is_dropped_and_what_may_be_of_them(make: Make) -> None:
    cache = make(1 << 20)
    for number in range(6):
        cache.put(key(number, "soft"), bytes(10 * number))
        cache.put(key(number, "kv", "another"), b"keys and values")
    cache.put(key(9, "scores/asked"), b"of a passage")
    cache.drop({key(1).segment, key(4).segment, key(7).segment})
    keys = [key(number, "soft") for number in range(6)] + [key(number, "kv", "another") for number in range(6)]
    assert cache.has(keys) == 2 * [number not in (1, 4) for number in range(6)]
    assert cache.get(key(9, "scores/asked")) is None
    found = cache.statistics()
    assert (found.entries, found.evicted) == (8, 0)
    cache.put(key(1, "soft"), b"again")
    assert cache.get(key(1, "soft")) == b"again"
    cache.drop(set())
    assert cache.statistics().entries == 9


def test_the_least_recently_used_goes_first(make: Make) -> None:
    cache = make(10 * (1000 + OVERHEAD))
    for number in range(8):
        cache.put(key(number), bytes(1000))
    assert cache.get(key(0)) is not None
    for number in range(8, 14):
        cache.put(key(number), bytes(1000))
    assert cache.get(key(0)) is not None
    assert cache.get(key(1)) is None
    assert cache.get(key(13)) is not None
    found = cache.statistics()
    assert found.bytes <= 10 * (1000 + OVERHEAD)
    assert found.evicted == 14 - found.entries


def test_what_is_over_the_limit_alone_is_not_kept(make: Make) -> None:
    cache = make(2000)
    cache.put(key(1), b"small")
    cache.put(key(2), bytes(5000))
    assert cache.get(key(2)) is None
    assert cache.get(key(1)) == b"small"


def test_threads_share_it(make: Make) -> None:
    cache = make(1 << 20)

    def work(first: int) -> None:
        for number in range(first, first + 60):
            cache.put(key(number), str(number).encode())
            assert cache.get(key(number)) in (str(number).encode(), None)

    threads = [threading.Thread(target=work, args=(20 * place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(cache.get(key(number)) == str(number).encode() for number in range(200))


def test_another_process_finds_it_and_restarts_do_too(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from turnout.compression.file_cache import FileCache;"
        "from turnout.documents import SegmentKey;"
        f"FileCache(Path({str(tmp_path)!r})).put(SegmentKey('0' * 63 + '5', 'scores', 'model'), b'of another process')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert FileCache(tmp_path).get(key(5)) == b"of another process"


@pytest.mark.parametrize("damage", [b"", b"short", b"turnout segment 2\nwrong\nkey\n\n" + bytes(40)])
def test_a_damaged_file_counts_as_not_there_and_is_removed(tmp_path: Path, damage: bytes) -> None:
    cache = FileCache(tmp_path)
    cache.put(key(1), b"value")
    (file,) = tmp_path.glob("*/*/*.value")
    file.write_bytes(damage)
    assert cache.get(key(1)) is None
    assert not file.exists()
    cache.put(key(1), b"value")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert cache.get(key(1)) is None


def test_a_folder_that_can_not_be_written_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("a file")
    cache = FileCache(tmp_path / "taken")
    for number in range(3):
        cache.put(key(number), b"value")
        assert cache.get(key(number)) is None
    assert len(caplog.records) == 1


def test_clearing_removes_what_others_wrote_too(tmp_path: Path) -> None:
    FileCache(tmp_path).put(key(1), b"value")
    cache = FileCache(tmp_path)
    cache.clear()
    assert cache.get(key(1)) is None
    assert cache.statistics().entries == 0

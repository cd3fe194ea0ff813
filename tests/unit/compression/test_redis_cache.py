"""The cache on a server that others use too, fails, comes back, and holds what is not to be trusted."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.redis_server import RedisServer
from support.tls import TlsFront

from turnout.compression import once, redis_cache
from turnout.compression.redis_cache import PREFIX, RedisCache, shown
from turnout.compression.sealed import name_of, sealed
from turnout.documents import SegmentKey
from turnout.errors import Cancelled, ConfigurationError, StoreError
from turnout.progress import Watch

redis = pytest.importorskip("redis")


def key(number: int, kind: str = "soft", fingerprint: str = "model") -> SegmentKey:
    return SegmentKey(f"{number:064x}", kind, fingerprint)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    RedisCache(shared.url).clear()
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    yield made
    made.kill()


def raw(server: RedisServer) -> "redis.Redis":
    return redis.Redis(port=server.port)


def name(of: SegmentKey) -> str:
    return f"{PREFIX}soft:{name_of(of)}"


def always(place: int, value: bytes) -> bool:
    return True


WORKER = """
import sys, time
from pathlib import Path
from turnout.compression import once
from turnout.compression.redis_cache import RedisCache
from turnout.documents import SegmentKey

url, log, begin = sys.argv[1:]
keys = [SegmentKey(f"{number % 290:064x}", "soft", "model") for number in range(300)]

def make(places):
    for place in places:
        with Path(log).open("a") as lines:
            lines.write(f"{keys[place].segment}\\n")
        time.sleep(0.001)
        yield keys[place].segment.encode()

cache = RedisCache(url)
cache.get(keys[0])
time.sleep(max(float(begin) - time.time(), 0))
values = once.values(cache, keys, make, lambda place, value: True)
assert values == [key.segment.encode() for key in keys]
"""


def test_two_processes_over_one_cold_document_compute_each_segment_once(server: RedisServer, tmp_path: Path) -> None:
    begin = str(time.time() + 0.8)
    logs = [tmp_path / "first", tmp_path / "second"]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, server.url, str(log), begin], stderr=subprocess.PIPE)
        for log in logs
    ]
    for worker in workers:
        assert (worker.communicate(timeout=60)[1], worker.returncode) == (b"", 0)
    each = [log.read_text().split() for log in logs]
    assert all(each), "one of them did it all"
    assert len(each[0]) + len(each[1]) == 290
    assert len({*each[0], *each[1]}) == 290


def test_a_server_that_is_killed_and_restarted_costs_values_and_no_answer(
    own: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_cache, "RETRY_S", 0.05)
    cache = RedisCache(own.url)
    keys = [key(number) for number in range(100)]
    made: list[int] = []

    def make(places: Sequence[int]) -> Iterator[bytes]:
        for place in places:
            if place == 40:
                own.kill()
            if place == 70:
                own.start()
                time.sleep(0.06)
            made.append(place)
            yield b"%d" % place

    wanted = [b"%d" % place for place in range(100)]
    assert once.values(cache, keys, make, always) == wanted
    assert made == list(range(100))
    assert sum("is not used" in record.message for record in caplog.records) == 1
    # What the server forgot is near, so far as it was made while there was none; the rest is made anew.
    assert once.values(cache, keys, make, always) == wanted
    assert made[100:] == list(range(40))
    assert all(RedisCache(own.url).has(keys[70:]))


def test_a_claim_of_a_process_that_died_ends(server: RedisServer) -> None:
    dead, living = RedisCache(server.url, lease_s=0.1), RedisCache(server.url)
    assert dead.claim([key(1), key(2)]) == [True, True]
    assert living.claim([key(1), key(3)]) == [False, True]
    assert once.values(living, [key(1)], lambda places: [b"made"], always) == [b"made"]
    dead.release([key(3)])  # is not its own
    assert dead.claim([key(3)]) == [False]


def test_who_gives_up_keeps_nobody_waiting(server: RedisServer) -> None:
    cache, other = RedisCache(server.url), RedisCache(server.url)
    stop = threading.Event()

    def make(places: Sequence[int]) -> Iterator[bytes]:
        for place in places:
            if place == 3:
                stop.set()
                raise Cancelled("given up")
            yield b"value"

    with pytest.raises(Cancelled):
        once.values(cache, [key(number) for number in range(9)], make, always)
    assert other.claim([key(0), key(3), key(8)]) == [b"value", True, True]
    with pytest.raises(Cancelled):
        once.values(cache, [key(8)], make, always, Watch(stop.is_set))


@pytest.mark.parametrize(
    "poison",
    [b"", b"\x00" * 500, sealed(key(1), b"good")[:-1], sealed(key(1), b"good") + b"!", sealed(key(2), b"of another")],
)
def test_a_poisoned_value_under_the_right_key_is_made_anew(server: RedisServer, poison: bytes) -> None:
    cache = RedisCache(server.url)
    cache.put(key(1), b"good")
    raw(server).set(name(key(1)), poison)
    assert cache.get(key(1)) is None
    assert once.values(cache, [key(1)], lambda places: [b"good"], always) == [b"good"]
    assert cache.get(key(1)) == b"good"


def test_a_value_that_can_not_be_one_is_made_anew(server: RedisServer) -> None:
    cache = RedisCache(server.url)
    cache.put(key(1), b"of another size")
    found = once.values(cache, [key(1)], lambda places: [b"1234"], lambda place, value: len(value) == 4)
    assert found == [b"1234"] == [cache.get(key(1))]


def test_entries_of_another_model_are_never_read(server: RedisServer) -> None:
    cache = RedisCache(server.url)
    cache.put(key(1, fingerprint="model"), b"value")
    assert cache.get(key(1, fingerprint="model+int8")) is None
    assert cache.claim([key(1, fingerprint="model+int8")]) == [True]


def test_values_have_a_time_to_live_that_use_prolongs(server: RedisServer) -> None:
    cache = RedisCache(server.url, ttl_s=1000)
    cache.put(key(1), b"value")
    raw(server).expire(name(key(1)), 10)
    assert cache.get(key(1)) == b"value"
    assert 990 < raw(server).ttl(name(key(1))) <= 1000


@pytest.mark.slow
def test_what_was_not_used_for_long_is_not_counted(server: RedisServer) -> None:
    cache = RedisCache(server.url, ttl_s=1)
    cache.put_many((key(number), bytes(100)) for number in range(50))
    time.sleep(2.2)
    cache.put(key(51), b"value")
    assert cache.statistics().entries == 1
    assert cache.statistics().evicted == 0


@pytest.mark.slow
def test_the_limit_holds_under_many_segments(own: RedisServer) -> None:
    limit = 16 << 20
    cache = RedisCache(own.url, limit)
    before = int(raw(own).info("memory")["used_memory"])
    for begin in range(0, 60_000, 5000):
        cache.put_many((key(number), bytes(600)) for number in range(begin, begin + 5000))
    found = cache.statistics()
    assert found.evicted + found.entries == 60_000
    assert 0.9 * limit < found.bytes <= limit
    assert int(raw(own).info("memory")["used_memory"]) - before < 1.1 * limit


def test_a_full_server_keeps_nothing_more_and_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    try:
        cache = RedisCache(server.url)
        for number in range(40):
            cache.put(key(number), bytes(100_000))
        assert all(value == bytes(100_000) for value in cache.get_many([key(number) for number in range(40)]))
        assert sum("is not used" in record.message for record in caplog.records) >= 1
    finally:
        server.kill()


@pytest.fixture(params=["password", "tls", "unreachable"])
def refused(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "unreachable":
        yield "redis://:secret-word@127.0.0.1:9/0"
        return
    server = RedisServer(tmp_path, *(("--requirepass", "another") if request.param == "password" else ()))
    yield f"redis{'s' if request.param == 'tls' else ''}://:secret-word@127.0.0.1:{server.port}/0"
    server.kill()


def test_a_server_that_refuses_is_a_clear_error_or_done_without(
    refused: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "TIMEOUT_S", 0.2)
    caplog.set_level(logging.WARNING)
    with pytest.raises(StoreError) as error:
        RedisCache(refused, required=True).get(key(1))
    cache = RedisCache(refused)
    assert once.values(cache, [key(1)], lambda places: [b"made"], always) == [b"made"]
    assert cache.get(key(1)) == b"made"
    with pytest.raises(StoreError):
        cache.check()
    assert len(caplog.records) == 1
    assert "127.0.0.1" in error.value.message
    assert "secret-word" not in caplog.text + str(error.value)


def test_the_right_password_opens(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "pass word")
    try:
        cache = RedisCache(f"redis://:pass%20word@127.0.0.1:{server.port}/0", required=True)
        cache.put(key(1), b"value")
        assert cache.get(key(1)) == b"value"
    finally:
        server.kill()


def test_a_server_with_tls_is_used_where_its_certificate_is_trusted(
    shared: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RedisCache(shared.url).clear()
    front = TlsFront(tmp_path, shared.port)
    try:
        url = f"rediss://127.0.0.1:{front.port}/0"
        with pytest.raises(StoreError, match="certificate"):
            RedisCache(url, required=True).get(key(1))
        doubtful = RedisCache(url)
        doubtful.put(key(1), b"value")
        assert doubtful.get(key(1)) == b"value"
        assert len(caplog.records) == 1
        trusting = RedisCache(f"{url}?ssl_ca_certs={front.certificate}", required=True)
        assert trusting.get(key(1)) is None
        trusting.put(key(1), b"value")
        assert RedisCache(shared.url).get(key(1)) == b"value"
        trusting.close()
    finally:
        front.close()


@pytest.mark.parametrize("url", ["", "http://localhost", "localhost:6379", "redis"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no URL of a cache"):
        RedisCache(url)


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("rediss://user:word@host:7000/2?password=word") == "rediss://host:7000/2"
    assert "word" not in shown("redis://user:word@host:port/2")


def test_nobody_waits_for_a_value_that_is_too_large_to_be_kept(server: RedisServer) -> None:
    cache, other = RedisCache(server.url, 1000), RedisCache(server.url, 1000)
    assert once.values(cache, [key(1)], lambda places: [bytes(5000)], always) == [bytes(5000)]
    assert other.claim([key(1)]) == [True]

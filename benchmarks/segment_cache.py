"""The segment cache on a real server under more segments than it may keep: its memory, and how fast it takes them.

    python benchmarks/segment_cache.py --server PROGRAM [--segments N] [--limit-mb M] [--seconds S] [--processes P]

Starts a Redis or Valkey server of its own on a free port (PROGRAM is its file, such as valkey-server), and puts
segments of three sizes until N are put or S seconds are over. Looked up all the while is the memory that the server
says it uses beyond an empty one, without the buffers of those who ask; the limit is respected where `most_over_limit`
is at most 1. Then the segments that were put last are looked up, and some dropped as `turnout rm` does.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import results_file
from redis import Redis

from turnout.compression.redis_cache import RedisCache
from turnout.documents import SegmentKey

SEED = 1
SIZES = (300, 600, 1200)
"""Bytes of a value: small ones, of which the server's own entries take the larger share."""

PORTION = 2000
LOOKED_UP = 20_000
FINGERPRINT = "soft/1/mean:2x20/benchmark"


def main(program: str, segments: int, limit_mb: int, most_s: float, processes: int) -> None:
    limit = limit_mb << 20
    with server(program) as port:
        url = f"redis://127.0.0.1:{port}/0"
        empty = used(port)
        begin = time.monotonic()
        shares = [range(at, segments, processes) for at in range(processes)]
        workers = [multiprocessing.Process(target=put, args=(url, limit, share, begin + most_s)) for share in shares]
        for worker in workers:
            worker.start()
        samples: list[dict[str, float]] = []
        while any(worker.is_alive() for worker in workers):
            samples.append({"seconds": round(time.monotonic() - begin, 1), "bytes": used(port) - empty})
            time.sleep(0.5)
        seconds = time.monotonic() - begin
        most = max(sample["bytes"] for sample in samples)
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a process failed; nothing was measured")
        cache = RedisCache(url, limit)
        held = cache.statistics()
        put_segments = held.entries + held.evicted
        last = [key(number) for number in range(put_segments - 1, max(put_segments - LOOKED_UP, 0), -1)]
        begin = time.perf_counter()
        found = sum(value is not None for value in cache.get_many(last))
        get_s = time.perf_counter() - begin
        dropped = {each.segment for each in last[:500]}
        begin = time.perf_counter()
        cache.drop(dropped)
        drop_s = time.perf_counter() - begin
        results_file.write(
            "segment_cache",
            SEED,
            {
                "server": version(port),
                "processes": processes,
                "limit_bytes": limit,
                "value_bytes": SIZES,
                "segments": put_segments,
                "kept": held.entries,
                "evicted": held.evicted,
                "counted_bytes": held.bytes,
                "most_server_bytes": most,
                "most_over_limit": round(most / limit, 4),
                "seconds": round(seconds, 1),
                "put_per_s": round(put_segments / seconds),
                "looked_up": len(last),
                "found": found,
                "get_per_s": round(len(last) / get_s),
                "dropped": held.entries - cache.statistics().entries,
                "drop_s": round(drop_s, 2),
                "over_time": samples[:: max(len(samples) // 50, 1)],
            },
        )


def put(url: str, limit: int, share: range, until: float) -> None:
    """One process's part."""
    cache = RedisCache(url, limit, required=True)
    for begin in range(0, len(share), PORTION):
        if time.monotonic() > until:
            return
        cache.put_many((key(number), value(number)) for number in share[begin : begin + PORTION])


def key(number: int) -> SegmentKey:
    return SegmentKey(hashlib.sha256(str(number).encode()).hexdigest(), "soft", FINGERPRINT)


def value(number: int) -> bytes:
    return number.to_bytes(4, "little") * (SIZES[number % len(SIZES)] // 4)


@contextmanager
def server(program: str) -> Iterator[int]:
    """The port of a server that keeps nothing on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > until or process.poll() is not None:
                        raise SystemExit(f"{program} does not start") from None
                    time.sleep(0.05)
            yield port
        finally:
            process.kill()
            process.wait()


def used(port: int) -> int:
    """Bytes that the server says it uses, without the buffers of those who ask."""
    with Redis(port=port) as client:
        info: Any = client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])


def version(port: int) -> str:
    with Redis(port=port) as client:
        info: Any = client.info("server")
    return f"{info.get('server_name', 'redis')} {info.get('valkey_version') or info['redis_version']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="PROGRAM")
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--limit-mb", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    main(given.server, given.segments, given.limit_mb, given.seconds, given.processes)

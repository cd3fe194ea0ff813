"""Runs the installed `turnout` command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TURNOUT = Path(sys.executable).with_name("turnout")


@dataclass(frozen=True)
class Ran:
    """`peak_bytes` is the highest resident memory of the process."""

    code: int
    out: str
    err: str
    peak_bytes: int


def turnout(*arguments: str, timeout_s: float = 280) -> Ran:
    """The whole process, with its highest memory as the system measured it."""
    with subprocess.Popen(
        [TURNOUT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        out, err = process.communicate(timeout=timeout_s)
    peak = _peak_of_children()
    return Ran(process.returncode, out, err, peak)


def _peak_of_children() -> int:
    import resource

    # The largest child so far: an upper bound for this one.
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024

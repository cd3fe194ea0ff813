"""Runs a command and writes its highest resident memory, in bytes, to a file: `python peak.py FILE COMMAND ...`.

A process of its own, because a child's peak counts from its fork on: a large parent would be counted with it.
"""

import os
import signal
import sys
from pathlib import Path

report, *command = sys.argv[1:]
child = os.posix_spawn(command[0], command, os.environ)
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
_, status, usage = os.wait4(child, 0)
Path(report).write_text(str(usage.ru_maxrss * 1024), encoding="ascii")
sys.exit(abs(os.waitstatus_to_exitcode(status)))

"""Which device and number format a local model runs in, and how much memory is free. Nothing is assumed."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import psutil

from turnout.errors import ConfigurationError, MemoryLimitError, MissingExtraError, UnknownNameError

DtypeName = Literal["bfloat16", "float32"]

CPUINFO = Path("/proc/cpuinfo")
FAST_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


def pick_device(name: str | None) -> str:
    """The torch device for `name` ("cpu", "cuda", "cuda:1"), or the best one here where it is None.

    Loads torch only where a CUDA device is asked for or its driver is here.

    Raises:
        ConfigurationError: the device is not here, or is one that is not supported (mps).
        UnknownNameError: not a device at all.
    """
    if name == "cpu" or (name is None and not _nvidia_driver_here()):
        return "cpu"
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a local model", "local") from error
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "mps":
        raise ConfigurationError("the device 'mps' is not supported: it has not been tested", hint="--device cpu")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UnknownNameError("device", name, ("cpu", "cuda", "cuda:0"))
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"the device {name!r} is not here: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices",
            hint="--device cpu, or install a CUDA build of torch and the driver",
        )
    return name


@lru_cache(maxsize=1)
def has_fast_bf16() -> bool:
    """True if the processor multiplies bf16 in hardware (flags amx_bf16 or avx512_bf16); False where unknown."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not FAST_BF16_FLAGS.isdisjoint(flags.split())


def _nvidia_driver_here() -> bool:
    # Only Linux shows its driver as files; elsewhere torch must be asked.
    return sys.platform != "linux" or any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg"))


def pick_dtype(device: str) -> DtypeName:
    """bf16 where it is fast on this device, else fp32 (emulated bf16 is several times slower)."""
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if has_fast_bf16() else "float32"


def machine() -> str:
    """What makes timings comparable: processor, cores and memory of this machine."""
    gib = round(psutil.virtual_memory().total / 2**30)
    return f"{platform.machine()}-{psutil.cpu_count(logical=True)}c-{gib}g"


def available_memory_bytes(device: str | None = None) -> int:
    """Free memory of the device: main memory that can be had without swapping, or free CUDA memory."""
    if device is not None and device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), _cgroup_headroom())


@contextlib.contextmanager
def memory_of(device: str, doing: str) -> Iterator[None]:
    """Work that may find no memory left on the device.

    Args:
        doing: "for ..." or "after ...", as it stands in the error.

    Raises:
        MemoryLimitError: instead of torch's own error.
    """
    import torch

    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MemoryLimitError(
            f"{device} has no memory left {doing}",
            hint="give fewer documents, set a budget of prompt tokens, or use a smaller model",
        ) from error


def _cgroup_headroom() -> int:
    """Bytes left in this control group (containers), or a huge number where there is no limit."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        # Cached file pages count as used but are given back under pressure.
        stats = Path("/sys/fs/cgroup/memory.stat").read_text(encoding="ascii").split()
        reclaimable = int(stats[stats.index("inactive_file") + 1])
    except (OSError, ValueError):
        return 1 << 62
    return 1 << 62 if limit == "max" else max(0, int(limit) - used + reclaimable)

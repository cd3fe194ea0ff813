"""Triton kernels without a GPU: tests/conftest.py switches its interpreter on; this compiles them for sm_90 apart from
it, in a process of its own.

    python tests/support/kernels.py < BUILDS

reads lists of builds as JSON, one a line, and writes what became of each list, or how it failed.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SM_90 = ("cuda", 90, 32)
SHARED_BYTES = 227 * 1024


@dataclass(frozen=True)
class Build:
    """One kernel with one choice of its constants.

    Attributes:
        module: where the kernel is.
        signature: type of each argument that is not constant, such as "*bf16", "i32", "fp32".
        options: num_warps, num_stages.
    """

    module: str
    kernel: str
    signature: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Built:
    """What the compiler made.

    Attributes:
        shared: bytes of shared memory; stack: bytes of spilled registers.
        matrix: the matrix instructions in it, of "mma.sync" and "wgmma".
        tma: whether it reads tiles by the tensor memory accelerator.
    """

    shared: int
    stack: int
    matrix: list[str]
    tma: bool

    @property
    def fits(self) -> bool:
        return self.shared <= SHARED_BYTES and self.stack == 0


def close(found: Iterable[Any], wanted: Iterable[Any], error: float = 1e-5) -> None:
    """Asserts that tensors are equal up to a relative error in norm, and infinite in the same places.

    Args:
        wanted: in float64.
    """
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert not one.isnan().any()
        finite = other.isfinite()
        assert bool((one[~finite].double() == other[~finite]).all()), "infinite in other places"
        distance, size = float((one[finite].double() - other[finite]).norm()), float(other[finite].norm())
        assert distance <= error * max(size, 1e-6), (distance, size)


def compiled(builds: list[Build]) -> list[Built]:
    """Compiles for sm_90."""
    compiler = _compiler()
    assert compiler.stdin is not None and compiler.stdout is not None
    compiler.stdin.write(json.dumps([asdict(build) for build in builds]) + "\n")
    compiler.stdin.flush()
    said = json.loads(compiler.stdout.readline() or '"the compiler ended"')
    assert isinstance(said, list), said
    return [Built(**row) for row in said]


@functools.cache
def _compiler() -> subprocess.Popen[str]:
    """One for all tests: importing torch takes longer than most builds."""
    started = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TRITON_INTERPRET": "0"},
        text=True,
    )
    # Leaving the context closes its input, which ends it, and waits for it.
    atexit.register(started.__exit__, None, None, None)
    return started


def _serve() -> None:
    importlib.import_module("triton")  # before the two processes part: once for both
    importlib.import_module("torch")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for line in sys.stdin:
            builds = [Build(**row) for row in json.loads(line)]
            try:
                said: Any = [asdict(built) for built in pool.map(_compile, builds, chunksize=1)]
            except Exception:
                said = traceback.format_exc()
            print(json.dumps(said), flush=True)


def _compile(build: Build) -> Built:
    import triton
    from triton.backends.compiler import GPUTarget

    kernel = getattr(importlib.import_module(build.module), build.kernel)
    types = {name: build.signature.get(name, "constexpr") for name in kernel.arg_names}
    # As they are at a launch: torch's memory is aligned, and strides are multiples of the heads' size.
    even = [at for at, name in enumerate(types) if types[name].startswith("*") or name.startswith("stride_")]
    aligned = {(at,): [["tt.divisibility", 16]] for at in even}
    source = triton.compiler.ASTSource(fn=kernel, signature=types, constexprs=build.constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget(*SM_90), options=build.options)
    ptx = made.asm["ptx"]
    matrix = [name for name in ("mma.sync", "wgmma") if name in ptx]
    return Built(made.metadata.shared, _stack(made.asm["cubin"]), matrix, "cp.async.bulk.tensor" in ptx)


def _stack(cubin: bytes) -> int:
    import triton

    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return max(int(size) for size in re.findall(r"STACK:(\d+)", said.stdout + said.stderr))


if __name__ == "__main__":
    _serve()

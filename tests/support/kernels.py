"""Triton kernels without a GPU: tests/conftest.py switches its interpreter on; this compiles them for sm_90 apart from
it, in a process of its own.

    python tests/support/kernels.py < BUILDS

reads the builds as JSON and writes what became of them.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
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
    """

    shared: int
    stack: int
    matrix: list[str]

    @property
    def fits(self) -> bool:
        return self.shared <= SHARED_BYTES and self.stack == 0


def compiled(builds: list[Build]) -> list[Built]:
    """Compiles for sm_90."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps([asdict(build) for build in builds]),
        env={**os.environ, "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Built(**row) for row in json.loads(done.stdout)]


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
    return Built(made.metadata.shared, _stack(made.asm["cubin"]), matrix)


def _stack(cubin: bytes) -> int:
    import triton

    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return max(int(size) for size in re.findall(r"STACK:(\d+)", said.stdout + said.stderr))


if __name__ == "__main__":
    json.dump([asdict(_compile(Build(**row))) for row in json.load(sys.stdin)], sys.stdout)

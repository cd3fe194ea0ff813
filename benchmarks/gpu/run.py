"""Everything that is measured or trained on a GPU, by job; results go to the folder $OUT.

    python benchmarks/gpu/run.py reader MODEL_FOLDER RUN [RUN ...]

`reader` runs what `turnout train reader --prepare-only` prepared, one run after the other, and gives back what the same
command without `--prepare-only` goes on from.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

OUT = Path(os.environ.get("OUT", "runs/gpu"))
BACK = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "adapter/card.json", "curve.jsonl",
        "plain.json", "trained.json", "kept.npz")  # fmt: skip
EVERY_S = 20.0


def reader(model: str, *runs: str) -> None:
    """Trains and answers; each run's files come back as OUT/<run>/..."""
    from turnout.training import stages

    for run in map(Path, runs):
        started = time.perf_counter()
        stages.run(Path(model), run, "cuda", _printed())
        for name in BACK:
            target = OUT / run.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(run / name, target)
        print(f"{run.name}: {time.perf_counter() - started:.0f} s", flush=True)


def _printed() -> Callable[[str, int, int], None]:
    last = [0.0]

    def show(stage: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] > EVERY_S or done == total:
            last[0] = time.monotonic()
            print(f"{stage} {done}/{total}", flush=True)

    return show


JOBS = {"reader": reader}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    JOBS[sys.argv[1]](*sys.argv[2:])

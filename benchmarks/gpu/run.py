"""Everything that is measured or trained on a GPU, by job; results go to the folder $OUT.

    python benchmarks/gpu/run.py reader MODEL_FOLDER RUN [RUN ...]
    python benchmarks/gpu/run.py engine

`reader` runs what `turnout train reader --prepare-only` prepared, one run after the other, and gives back what the same
command without `--prepare-only` goes on from. `engine` checks the paged engine and measures it, see engine.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


def engine() -> None:
    """Rows as they are measured, so that a run that is cut off leaves what it has, in OUT/engine.json."""
    import engine as paged

    from turnout import system

    record = {"benchmark": "gpu_engine", "date": time.strftime("%Y-%m-%d"), "seed": paged.SEED,
              "command": "python benchmarks/gpu/run.py engine", "repeats": paged.REPEATS,
              "device": system.device(), "versions": system.versions(), "checks": [], "speed": []}  # fmt: skip

    def note(kind: str, row: dict[str, Any]) -> None:
        record[kind].append(row)
        (OUT / "engine.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(row, flush=True)

    for row in paged.correctness():
        note("checks", row)
    paged.speed(partial(note, "speed"))


def _printed() -> Callable[[str, int, int], None]:
    last = [0.0]

    def show(stage: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] > EVERY_S or done == total:
            last[0] = time.monotonic()
            print(f"{stage} {done}/{total}", flush=True)

    return show


JOBS = {"reader": reader, "engine": engine}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    JOBS[sys.argv[1]](*sys.argv[2:])

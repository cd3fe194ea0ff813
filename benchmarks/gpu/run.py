"""Everything that is measured or trained on a GPU, by job; results go to the folder $OUT.

    python benchmarks/gpu/run.py reader MODEL_FOLDER RUN [RUN ...]
    python benchmarks/gpu/run.py engine
    python benchmarks/gpu/run.py attention [whole|tiny] [MINUTES]
    python benchmarks/gpu/run.py speculation [tiny]

`reader` runs what `turnout train reader --prepare-only` prepared, one run after the other, and gives back what the same
command without `--prepare-only` goes on from. `engine` checks the paged engine and measures it, see engine.py.
`attention` does so with the kernels for dense and sparse attention, see attention.py, and with whole prompts, see
whole.py; it begins no piece of work after MINUTES (9 by default), and run again it goes on after the rows that
OUT/attention.json holds, so that a visit may be several calls: put the file of the call before into OUT. Beside what
was measured it prints the numbers to beat, see targets.py. `speculation` measures drafting and verifying against the
formula that predicts it, see speculation.py. `tiny` tries it out on a CPU.
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


def speculation(size: str = "whole") -> None:
    """Rows as they are measured, in OUT/speculation.json."""
    import speculation as drafting

    from turnout import system

    record = {"benchmark": "gpu_speculation", "date": time.strftime("%Y-%m-%d"), "seed": drafting.SEED,
              "command": f"python benchmarks/gpu/run.py speculation {size}", "device": system.device(),
              "versions": system.versions(), "rows": []}  # fmt: skip

    def note(row: dict[str, Any]) -> None:
        record["rows"].append(row)
        (OUT / "speculation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(row, flush=True)

    drafting.speed(drafting.TINY if size == "tiny" else drafting.Sizes(), note)


def attention(size: str = "whole", minutes: str = "9") -> None:
    """Rows as they are measured. What fails is noted, and tried again once all else is there; the others go on without
    it, but where it has left the device unusable, the run ends and the next one goes on."""
    import attention as kernels
    import targets
    import whole

    from turnout import system

    until = time.monotonic() + 60 * float(minutes)
    sizes = kernels.TINY if size == "tiny" else kernels.Sizes()
    file = OUT / "attention.json"
    head = {"benchmark": "gpu_attention", "seed": kernels.SEED, "repeats": sizes.repeats, "device": system.device(),
            "versions": system.versions(), "command": f"python benchmarks/gpu/run.py attention {size}"}  # fmt: skip
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if {name: record.get(name) for name in head} != head:
        record = {**head, "rows": {}}  # of another machine, or of other versions
    record["date"] = time.strftime("%Y-%m-%d")
    rows = record["rows"]
    works = [*kernels.works(sizes), *whole.works(whole.TINY if size == "tiny" else whole.Whole())]
    missing = [work for work in works if work[0] not in rows]
    left = [*missing, *(work for work in works if "failed" in rows.get(work[0], {}))]
    while left and time.monotonic() < until and _is_usable(sizes.device):
        name, work = left.pop(0)
        try:
            rows[name] = work()
        except Exception as error:
            rows[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        new = file.with_suffix(".new")  # a run may be ended while it writes
        new.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        new.replace(file)
        print(name, rows[name], flush=True)
    print("\n".join(targets.table(rows)), flush=True)
    failed = [name for name, row in rows.items() if "failed" in row]
    if left or failed:
        raise SystemExit(f"{len(left)} pieces of work are left; failed: {', '.join(failed) or 'none'}")


def _is_usable(device: str) -> bool:
    """A kernel that reads where it must not leaves a process that can do nothing more."""
    import torch

    try:
        torch.ones(1, device=device).sum().item()
    except RuntimeError as error:
        print(f"the device can't be used any more: {error}", flush=True)
        return False
    return True


def _printed() -> Callable[[str, int, int], None]:
    last = [0.0]

    def show(stage: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] > EVERY_S or done == total:
            last[0] = time.monotonic()
            print(f"{stage} {done}/{total}", flush=True)

    return show


JOBS = {"reader": reader, "engine": engine, "attention": attention, "speculation": speculation}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    JOBS[sys.argv[1]](*sys.argv[2:])

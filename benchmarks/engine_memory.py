"""Predicted memory of the local engine beside what the process really took, over 20 mixed prompts.

    python benchmarks/engine_memory.py [MODEL_FOLDER]

Each prompt is read and answered in a process of its own, which has imported the libraries before its memory is looked
at; the peak is the kernel's own (VmHWM), so Linux only, from when the model is loaded. Before that the file of the
weights is mapped beside them, whose pages the kernel can take back: `loading` is the peak until then. How fast a prompt
that does not fit is refused is measured too.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import results_file

from turnout.config import DEFAULT_MODEL, Settings
from turnout.engines.models import model_folder
from turnout.training.recipe import draws

SEED = 1
PROMPTS = 20
SHORTEST, LONGEST = 50, 7900


def main(folder: Path) -> None:
    draw = draws(SEED)
    # Evenly over the logarithm: as many short prompts as long ones.
    sizes = [round(SHORTEST * (LONGEST / SHORTEST) ** draw.random()) for _ in range(PROMPTS)]
    rows = [measured(folder, tokens, draw.choice([8, 64, 128])) for tokens in sizes]
    ratios = [row["predicted"] / row["peak"] for row in rows]
    refusals = [refused(folder) for _ in range(5)]
    results_file.write(
        "engine_memory",
        SEED,
        {
            "model": folder.name,
            "predicted_over_peak": results_file.spread(ratios),
            "loading_over_weights": results_file.spread([row["loading"] / row["weights"] for row in rows]),
            "farthest": max(ratios, key=lambda ratio: abs(ratio - 1)),
            "refused_after_s": statistics.median(refusals),
            "rows": rows,
        },
    )


def measured(folder: Path, tokens: int, new: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(folder), str(tokens), str(new)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row = json.loads(done.stdout.splitlines()[-1])
    print(row, f"{row['predicted'] / row['peak']:.3f}", flush=True)
    return row


def one(folder: Path, tokens: int, new: int) -> None:
    import torch
    from transformers.models.llama import modeling_llama  # noqa: F401

    from turnout.engines.local import LocalEngine

    torch.ones(64, 64).bfloat16() @ torch.ones(64, 64).bfloat16()
    engine = LocalEngine(folder)
    predicted = engine.memory_bytes(tokens, new)
    before = _kib("VmRSS")
    reset_peak()
    engine.open()
    loading = peak_since(before)
    reset_peak()
    draw = draws(SEED)
    with engine.sequence() as sequence:
        logits = sequence.prefill([draw.randrange(engine.vocabulary) for _ in range(tokens)], more=new)
        for _ in range(new - 1):
            logits = sequence.append([int(logits.argmax())])[0]
    sizes = {"predicted": predicted, "peak": peak_since(before)}
    print(json.dumps({"tokens": tokens, "new": new, "weights": engine.memory_bytes(0, 0), "loading": loading} | sizes))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_since(before: int) -> int:
    """Bytes over what the process had before."""
    return (_kib("VmHWM") - before) * 1024


def refused(folder: Path) -> float:
    """Seconds from a prompt's tokens to its refusal, by an engine with room for 512."""
    from turnout.engines.local import LocalEngine
    from turnout.errors import MemoryLimitError

    engine = LocalEngine(folder)
    engine = LocalEngine(folder, pool_bytes=engine.memory_bytes(512, 0) - engine.memory_bytes(0, 0))
    engine.count_text("once")
    started = time.perf_counter()
    try:
        engine.admission.check(4096, 16)
    except MemoryLimitError:
        return time.perf_counter() - started
    raise SystemExit("a prompt over the limit was not refused")


def _kib(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit(f"no {name} here: Linux is needed")
    return int(found[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        given = sys.argv[1:2]
        main(Path(given[0]) if given else model_folder(DEFAULT_MODEL, Settings.load(), role="generator"))

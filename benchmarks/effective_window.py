"""The maximum effective context window of a model by kind of task, over public-domain filler (../shared/data/haystack).

    python benchmarks/effective_window.py smollm2-135m needle,aggregation

50 trials for each kind and size on each of three seeds. Sizes are 256, 512, ... and last the largest that leaves room
for question and answer in the window, at most 8,192. Goes on where it was stopped: answers are kept in runs/, nothing
of the texts is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dev_data
import results_file
from tqdm import tqdm

from turnout import calibrate

SEED = 1
RUNS = Path(__file__).parents[1] / "runs"


def main(model: str, kinds: str) -> None:
    dev_data.require()
    RUNS.mkdir(exist_ok=True)
    name = f"effective_window_{Path(model).name}"
    bar = tqdm(unit="s")  # estimated seconds of work

    def progress(stage: str, done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    started = time.perf_counter()
    found = calibrate.window(
        model,
        texts=dev_data.DATA / "haystack/texts.jsonl.gz",
        kinds=kinds.split(","),
        seed=SEED,
        state=RUNS / f"{name}.jsonl",
        progress=progress,
        on_plan=print,
    )
    bar.close()
    found.pop("saved")
    found["model"] = Path(model).name
    results_file.write(name, SEED, {"wall_s_of_last_pass": time.perf_counter() - started, **found})


if __name__ == "__main__":
    main(*sys.argv[1:])

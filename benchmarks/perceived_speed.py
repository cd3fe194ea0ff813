"""What a user waits for, on a fresh data directory: help, a first ask on a 300-page PDF, a second process, a warm ask.

    python benchmarks/perceived_speed.py

The PDF is made from public-domain text of the haystack (../shared/data). Every figure is of whole processes but the
last, which is the time outside the engine of asks after the model is loaded.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dev_data
import results_file
from fpdf import FPDF

from turnout import Turnout
from turnout.config import Settings

PAGES = 300
SEED = 0
QUESTION = "Who wrote the letter?"


def main() -> None:
    dev_data.require()
    with tempfile.TemporaryDirectory() as folder:
        home, pdf = Path(folder) / "home", Path(folder) / "book.pdf"
        home.mkdir(mode=0o700)
        (home / "models").symlink_to(Settings.load().models)
        make_pdf(pdf)
        figures: dict[str, Any] = {
            "pdf": {"pages": PAGES, "bytes": pdf.stat().st_size},
            "help_s": results_file.spread([process(["--help"], home)[0] for _ in range(7)]),
            "first_ask_s": first_word(pdf, home),
            "second_process_s": results_file.spread([first_word(pdf, home) for _ in range(3)]),
            "outside_engine_s": outside_engine(pdf, home),
        }
    results_file.write("perceived_speed", SEED, figures)


def make_pdf(path: Path) -> None:
    """PAGES pages of about 2,600 characters."""
    texts = dev_data.read(dev_data.DATA / "haystack/texts.jsonl.gz")
    text = max((t["text"] for t in texts), key=len).encode("latin-1", "replace").decode("latin-1")
    pdf = FPDF(format="A4")
    pdf.set_font("Helvetica", size=10)
    for page in range(PAGES):
        pdf.add_page()
        pdf.multi_cell(0, 4.5, text[page * 2600 : (page + 1) * 2600])
    pdf.output(str(path))


def process(arguments: list[str], home: Path) -> tuple[float, str]:
    """(seconds of a whole `turnout` process, its standard output)."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "turnout"), *arguments],
        env=os.environ | {"TURNOUT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):
        raise RuntimeError(done.stderr)
    return time.perf_counter() - started, done.stdout


def first_word(pdf: Path, home: Path) -> float:
    """Seconds from the start of a process to the first word of its answer: the whole process less what followed it."""
    total, output = process(["ask", str(pdf), QUESTION, "--json"], home)
    usage = json.loads(output)["usage"]
    after = usage["total_s"] - usage["ttft_s"]
    return total - after


def outside_engine(pdf: Path, home: Path) -> dict[str, Any]:
    """Seconds of a warm ask that are not the engine's, by strategy: total less the engine's own time."""
    seconds: list[float] = []
    with Turnout(home=str(home)) as t:
        for question in ("Who wrote the letter?", "What did the captain say?", "Where was the house?") * 4:
            started = time.perf_counter()
            answer = t.ask(question, [str(pdf)], strategy="rag")
            whole = time.perf_counter() - started
            engine = next(float(s.split()[1]) / 1000 for s in answer.trace if s.startswith("generate"))
            seconds.append(whole - engine)
    warm = seconds[3:]
    return results_file.spread(warm) | {"max": max(warm), "mean": statistics.mean(warm)}


if __name__ == "__main__":
    main()

"""Draws what soft_speed.py measured: seconds to the first token by length, making soft tokens included and not.

python benchmarks/plot_soft_speed.py [RESULT.json] [--out docs/figures/soft-speed.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import results_file

COLOURS = {"full": "#2b85c4", "soft": "#56b4e9", "ape": "#e69f00"}
STYLES = {"": "-", "_again": ":", "_cold": "--"}
"""What is kept: what the way says, keys and values in place too, nothing."""


def main(result: Path, out: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib.figure import Figure

    measured = json.loads(result.read_text(encoding="utf-8"))
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    lengths = [row["document_tokens"] for row in measured["lengths"]]
    for way in measured["lengths"][0]["first_token_s"]:
        name, _, kept = way.partition("_")
        figures = [row["first_token_s"][way] for row in measured["lengths"]]
        axes.plot(
            lengths, _all(figures, "median"), color=COLOURS[name], linestyle=STYLES[kept and f"_{kept}"], label=way
        )
        low, high = _all(figures, "p10"), _all(figures, "p90")
        axes.fill_between(lengths, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.set_xlabel("tokens of the document")
    axes.set_ylabel("seconds to the first token (median; 10th to 90th percentile)")
    axes.set_title(f"{measured['model']}, {measured['dtype']}, {measured['threads']} threads")
    axes.legend(frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


def _all(figures: list[dict[str, Any]], name: str) -> list[float]:
    return [figure[name] for figure in figures]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", nargs="?", type=Path, default=results_file.RESULTS / "soft_speed.json")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/figures/soft-speed.svg")
    given = parser.parse_args()
    main(given.result, given.out)

"""The numbers to beat, side by side with what a run of attention.py measured; each has its baseline in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]
LONG = 131072


def _s(rows: Rows, name: str) -> float:
    return float(rows[name]["time"]["median_s"])


TARGETS: dict[str, tuple[str, Callable[[Rows], float]]] = {
    "dense causal at 32K, flop/s": ("450e12 or more", lambda rows: rows["dense 32768"]["flop_per_s"]),
    "the same of cuDNN": ("about 560e12 to 620e12", lambda rows: rows["cudnn 32768"]["flop_per_s"]),
    "tenth of the tiles at 128K, over own dense": (
        "7 or more",
        lambda rows: _s(rows, f"dense {LONG}") / _s(rows, f"lists 0.1 by head {LONG}"),
    ),
    "tenth of the tiles at 128K, over torch SDPA": (
        "5 or more",
        lambda rows: _s(rows, f"sdpa {LONG}") / _s(rows, f"lists 0.1 by head {LONG}"),
    ),
    "xattention with its estimator at 128K, over torch SDPA": (
        "4.5 or more at a density of 0.1",
        lambda rows: _s(rows, f"sdpa {LONG}") / _s(rows, f"xattention 0.9/16 {LONG}"),
    ),
    "density of that": ("0.1", lambda rows: rows[f"xattention 0.9/16 {LONG}"]["density"]),
    "recall of that": ("0.95 or more", lambda rows: rows[f"xattention 0.9/16 {LONG}"]["recall"]),
    "dense decoding at 128K, share of the copy's bandwidth": (
        "0.8 or more",
        lambda rows: rows[f"decode 1 {LONG}"]["bytes_per_s"] / rows["machine"]["copy_bytes_per_s"],
    ),
    "decoding over 4096 chosen tokens, seconds a layer": (
        "12e-6 or less",
        lambda rows: rows[f"decode 1 of 4096 {LONG}"]["replayed"]["median_s"],
    ),
    "verifying 8 tokens at 128K, over one": (
        "1.15 or less",
        lambda rows: _s(rows, f"decode 8 {LONG}") / _s(rows, f"decode 1 {LONG}"),
    ),
    "reading 128K whole, dense over blocks": (
        "2 or more",
        lambda rows: rows[f"read whole dense {LONG}"]["median_s"] / rows[f"read whole blocks {LONG}"]["median_s"],
    ),
}  # fmt: skip


def table(rows: Rows) -> list[str]:
    """Lines; what was not measured says so."""
    lines = [f"{'':56}{'measured':>12}  target"]
    for name, (target, found) in TARGETS.items():
        try:
            value = f"{found(rows):.4g}"
        except KeyError:
            value = "not yet"
        lines.append(f"{name:56}{value:>12}  {target}")
    return lines

"""The report's plots as SVG. The same figures and rows give the same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.errors import MissingExtraError
from turnout.router.evaluation.report_text import mean, number
from turnout.router.evaluation.rows import Row, write_atomically
from turnout.router.evaluation.table import is_single, predicted_and_measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe and Ito), readable on white and on black.
COLOURS = {
    "router": "#009e73",
    "full": "#2b85c4",
    "rag": "#e69f00",
    "extract": "#cc79a7",
    "soft": "#56b4e9",
    "rapid": "#d55e00",
    "closed": "#8c8c8c",
    "self_route": "#8f7a00",
    "task_rule": "#8878d0",
    "random": "#a9a9a9",
    "oracle": "#c4455b",
}
MARKERS = {
    "router": "D", "full": "s", "rag": "o", "extract": "^", "soft": "v", "rapid": "P", "closed": "x",
    "self_route": "<", "task_rule": ">", "random": "X", "oracle": "*",
}  # fmt: skip
INK = "#1b1c1d"
"""Text and axes; in a page it becomes the page's own text colour."""

SIZE = (8.0, 4.2)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot. `note` says how to read it, `alt` gives its figures in words."""

    name: str
    title: str
    note: str
    alt: str
    svg: str


def draw(figures: Mapping[str, Any], rows: Sequence[Row], *, inline: bool = True) -> list[Plot]:
    """Draws every plot for which there are figures.

    Args:
        figures: of `figures.figures`.
        rows: of the run, for the times of single questions.
        inline: for a page: transparent and in the page's text colour; else dark on white, a file of its own.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawn = []
    with _style():
        for name, title, note, plot in PLOTS:
            figure = _figure()
            alt = plot(figure.subplots(), figures, rows)
            if alt:
                drawn.append(Plot(name, title, note, alt, _svg(figure, name, title, inline=inline)))
    return drawn


def write_svgs(figures: Mapping[str, Any], rows: Sequence[Row], folder: str | Path) -> list[Path]:
    """Saves each plot as NAME.svg in a folder, and returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for plot in draw(figures, rows, inline=False):
        files.append(folder / f"{plot.name}.svg")
        write_atomically(files[-1], plot.svg)
    return files


def frontier(axes: Axes, figures: Mapping[str, Any], _: Sequence[Row]) -> str:
    """Score against seconds per question, with intervals; a line joins what nothing that ran beats on both."""
    entries = [entry for entry in figures["strategies"] if entry["seconds"]["mean"]]
    for place, entry in enumerate(entries):
        score = entry["score"]
        axes.errorbar(
            entry["seconds"]["mean"],
            score["mean"],
            yerr=[[score["mean"] - score["low"]], [score["high"] - score["mean"]]],
            **_look(entry["name"]),
            # A router that always takes one strategy falls on that one: both must be seen.
            markerfacecolor="none" if entry["label"] else None,
            zorder=3 + len(entries) - place,
            linestyle="none",
            label=entry["name"],
        )
    ran = sorted((e["seconds"]["mean"], e["score"]["mean"]) for e in entries if not e["label"])
    best = [point for place, point in enumerate(ran) if all(point[1] > before[1] for before in ran[:place])]
    axes.step(*zip(*best, strict=True), where="post", color=INK, alpha=0.4, linewidth=0.8, linestyle="--", zorder=0)
    _log_axis(axes, "x")
    axes.set_xlabel("seconds per question (mean, log scale)")
    axes.set_ylabel("score (95% interval)")
    _legend(axes)
    points = (f"{e['name']} {e['score']['mean']:.2f} at {e['seconds']['mean']:.1f} s" for e in entries)
    return f"Score against seconds per question: {', '.join(points)}."


def by_length(axes: Axes, figures: Mapping[str, Any], _: Sequence[Row]) -> str:
    """Score by length of the documents, one line per strategy that ran."""
    bands = figures["lengths"]
    names = [e["name"] for e in figures["strategies"] if e["name"] in ("router", "closed") or is_single(e["name"])]
    for at, name in enumerate(names):
        # A strategy may have been left out of all questions of a length: a gap.
        scores = [band["scores"][name] or dict.fromkeys(("mean", "low", "high"), math.nan) for band in bands]
        means = [score["mean"] for score in scores]
        axes.errorbar(
            [place + (at - (len(names) - 1) / 2) * 0.6 / len(names) for place in range(len(bands))],
            means,
            yerr=[
                [score["mean"] - score["low"] for score in scores],
                [score["high"] - score["mean"] for score in scores],
            ],
            **_look(name),
            linewidth=0.8,
            label=name,
        )
    axes.set_xticks(range(len(bands)), [f"{band['name']}\nn={band['questions']}" for band in bands])
    axes.set_xlabel("tokens of the prompt with all documents")
    axes.set_ylabel("score (95% interval)")
    _legend(axes)
    return "Score by length: " + "; ".join(
        f"{band['name']} tokens: " + ", ".join(f"{name} {number(mean(band['scores'][name]))}" for name in names)
        for band in bands
    )


def predicted(axes: Axes, figures: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Predicted against measured time to the first word, one point per row of a single strategy."""
    names = [e["name"] for e in figures["strategies"] if figures["timing"].get(e["name"], {}).get("ttft")]
    ends: list[float] = []
    for name in names:
        points = predicted_and_measured((row for row in rows if row["strategy"] == name), "ttft_s")
        expected, measured = zip(*sorted(points), strict=True)
        look = _look(name)
        axes.scatter(
            measured, expected, s=12, alpha=0.55, color=look["color"], marker=look["marker"], label=name, linewidths=0.5
        )
        ends += [*measured, *expected]
    if not ends:
        return ""
    low, high = min(ends) / 1.3, max(ends) * 1.3
    for factor, style in ((1.0, "-"), (2.0, ":"), (0.5, ":")):
        axes.plot([low, high], [low * factor, high * factor], color=INK, alpha=0.5, linewidth=0.8, linestyle=style)
    _log_axis(axes, "x")
    _log_axis(axes, "y")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("measured seconds to the first word")
    axes.set_ylabel("predicted seconds")
    _legend(axes)
    spreads = ((name, figures["timing"][name]["ttft"]) for name in names)
    return "Predicted over measured seconds to the first word: " + ", ".join(
        f"{name} median {spread['median']:.2f}, p10 to p90 {spread['p10']:.2f} to {spread['p90']:.2f}"
        for name, spread in spreads
    )


def regret(axes: Axes, figures: Mapping[str, Any], _: Sequence[Row]) -> str:
    """What each strategy's score lacks to the oracle's, by task."""
    tasks = [task for task in figures["tasks"] if task["regret"]]
    names = [entry["name"] for entry in figures["strategies"] if entry["name"] not in ("oracle", "closed")]
    if not tasks:
        return ""
    width = 0.8 / len(names)
    for at, name in enumerate(names):
        places = [place + (at - (len(names) - 1) / 2) * width for place in range(len(tasks))]
        axes.bar(
            places,
            [task["regret"].get(name, math.nan) for task in tasks],
            width,
            color=_look(name)["color"],
            label=name,
        )
    axes.set_xticks(range(len(tasks)), [f"{task['name']}\nn={task['questions']}" for task in tasks])
    axes.set_ylabel("regret: oracle minus score")
    _legend(axes)
    return "Regret by task: " + "; ".join(
        f"{task['name']}: " + ", ".join(f"{name} {number(task['regret'].get(name))}" for name in names)
        for task in tasks
    )


PLOTS: tuple[tuple[str, str, str, Callable[[Axes, Mapping[str, Any], Sequence[Row]], str]], ...] = (
    ("frontier", "Quality against cost", "Dashed: what nothing that ran beats in both; hollow: derived.", frontier),
    ("length", "Quality by length", "Few questions make wide intervals; n is the number of questions.", by_length),
    ("first-word", "Predicted against measured first word", "Dotted: half and twice what was measured.", predicted),
    ("regret", "Regret by task", "Lower is better; the oracle has none.", regret),
)


@contextmanager
def _style() -> Iterator[None]:
    """Our own settings over matplotlib's defaults, so that a user's matplotlibrc changes nothing."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise MissingExtraError("the report page", "eval") from error
    ours = {
        "svg.fonttype": "path",
        "svg.hashsalt": "turnout",
        "font.size": 9.0,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": INK,
        "grid.alpha": 0.12,
        "axes.facecolor": "none",
    }
    with style.context(["default", ours]):
        yield


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=SIZE, layout="constrained")


def _look(name: str) -> dict[str, Any]:
    base, _, variant = name.partition(":")
    return {
        "color": COLOURS.get(base, INK),
        "marker": "h" if variant else MARKERS.get(base, "."),
        "markersize": 5 if base == "router" else 7,
        "elinewidth": 1.2,
        "capsize": 2.5,
    }


def _log_axis(axes: Axes, which: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False)


def _svg(figure: Figure, name: str, title: str, *, inline: bool) -> str:
    target = io.StringIO()
    background = "none" if inline else "white"
    # Without these four no metadata is written: it would hold today's date and addresses.
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(target, format="svg", facecolor=background, metadata=metadata)
    text = target.getvalue()
    # Several plots share a page, and ids must be unique in it.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    start = text.index("<svg")
    head, body = text[start:].split(">", 1)
    text = f"{head}><title>{title}</title>{body}"
    if not inline:
        return f'<?xml version="1.0" encoding="utf-8"?>\n{text}'
    # Inside HTML the namespaces are known, and every other address would be a link out of the page.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    return text.replace(INK, "currentColor")

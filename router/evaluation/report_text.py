"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

APART = "router calibrated on other documents"


def terminal(figures: Mapping[str, Any], *, details: bool = False, page: str = "") -> list[str]:
    """The report as lines.

    Args:
        figures: of `figures.figures`.
        details: add the tables by task and by length.
        page: where the HTML page was written, for the last line.
    """
    lines = [header(figures["run"], figures), *_strategies(figures)]
    lines += _notes(figures)
    lines += _keyed("verdict", [verdict["text"] for verdict in figures["verdicts"]])
    if details:
        lines += ["", *_slices("by task", figures["tasks"], figures, "mean over tasks")]
        lines += ["", *_slices("by length", figures["lengths"], figures)]
        lines += _closed_book(figures["closed_book"])
    return lines + _keyed("page", [page] if page else [])


def header(run: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """What was measured, and how, in one line."""
    facts = [
        _asked(figures["questions"], run["questions"]),
        # How many were read so far the rows don't say: a question may have documents that no row names.
        ("of " if run["finished"] is None else "") + counted(run["documents"], "document"),
        run["model"]["name"],
        counted(run["cores"], "core"),
        *gpus(run["device"]),
        f"seed {run['seed']}",
        f"cache {run['cache']}",
        *([f"{run['parallel']} at once"] if (run["parallel"] or 1) > 1 else []),
        *(["not finished"] if run["finished"] is None else []),
        *([APART] if run["cross_fit"] else []),
        counted(figures["failed_rows"], "row") + " failed",
    ]
    if figures["left_out"]:
        facts.append(counted(figures["left_out"], "question") + " left out")
    return "  ".join(facts)


def _asked(counted_in: int, planned: int | None) -> str:
    """How many questions the figures rest on, and of how many, where some are missing."""
    return (
        counted(planned, "question") if planned == counted_in else f"{counted_in:,} of {counted(planned, 'question')}"
    )


def currency(figures: Mapping[str, Any]) -> str:
    """Of a run's costs; "" where it had no prices."""
    return str((figures["run"]["prices"] or {}).get("currency", ""))


def gpus(device: str | None) -> list[str]:
    """The GPUs of a run's `device`, which names processor, cores and memory first."""
    return [name for name in (device or "").partition(" GiB, ")[2].split(", ") if name]


def counted(number: int | None, noun: str) -> str:
    """1 row, 2 rows; "? rows" where it is not known."""
    if number is None:
        return f"? {noun}s"
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _strategies(figures: Mapping[str, Any]) -> list[str]:
    rows = [("", "score [95%]", "vs best single", "s/question", "prompt", "found", "evidence", "not-in-text P/R")]
    return columns([*rows, *(_strategy(entry, figures) for entry in figures["strategies"])])


def _strategy(entry: Mapping[str, Any], figures: Mapping[str, Any]) -> tuple[str, ...]:
    name = entry["name"] + ("*" if entry["truncated"] else "")
    if entry["name"] == "oracle":
        return (name, f"{entry['score']['mean']:.2f}", entry["label"])
    abstention, citations = entry["abstention"], entry["citations"]
    return (
        name,
        interval(entry["score"]) + (f" n={entry['questions']}" if is_partial(entry, figures) else ""),
        against_best(entry, figures),
        number(entry["seconds"]["mean"], ".1f"),
        number(entry["prompt_tokens"], ",.0f"),
        number(citations and citations["found"]),
        number(citations and citations["evidence"]),
        f"{number(abstention['precision'])} / {number(abstention['recall'])}" if abstention else "-",
    )


def is_partial(entry: Mapping[str, Any], figures: Mapping[str, Any]) -> bool:
    """Whether a strategy's figures are of some of the questions."""
    return bool(entry["questions"] < figures["questions"])


def against_best(entry: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """A strategy's score minus that of the best single one."""
    if entry["difference"] is None:
        return "best single" if entry["name"] == figures["best_single"] else "-"
    return interval(entry["difference"], signed=True)


def interval(values: Mapping[str, float], *, signed: bool = False) -> str:
    """0.57 [0.49, 0.65]"""
    mean = number(values["mean"], "+z.2f" if signed else "z.2f")
    return f"{mean} [{number(values['low'])}, {number(values['high'])}]"


def number(value: float | None, form: str = "z.2f") -> str:
    """A figure, or - where there is none."""
    return "-" if value is None else format(value, form)


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows of cells, left-aligned; the last cell of a row may be wider than its column."""
    count = max(map(len, rows))
    widths = [max((len(row[at]) for row in rows if at < len(row) - 1), default=0) for at in range(count)]
    return [
        indent + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]


def _notes(figures: Mapping[str, Any]) -> list[str]:
    """What must be known to read the table."""
    entries = figures["strategies"]
    cut, timing = cut_line(figures), figures["timing"]["all"]["ttft"]
    first = [f"* {cut}"] if cut else []
    if timing:
        spread = f"median {timing['median']:.2f}, p10-p90 {timing['p10']:.2f}-{timing['p90']:.2f}"
        first.append(f"first word predicted/measured: {spread}")
    lines = ["     ".join(first)] if first else []
    lines += _keyed("too narrow", interval_notes(figures))
    for entry in entries:
        if entry["label"] and entry["name"] != "oracle":
            lines += _keyed(entry["name"], [entry["label"]])
        if entry["left_out"]:
            lines += _keyed(entry["name"], [left_out_line(entry, figures)])
        if entry["fallback"]:
            lines += _keyed(entry["name"], [fallback_line(entry, figures)])
        if entry["cached_rows"] and figures["run"]["cache"] == "cold" and not entry["label"]:
            lines += _keyed(
                "not cold", [f"{entry['name']} had cached tokens in {counted(entry['cached_rows'], 'row')}"]
            )
    for name, failed in figures["unusable"].items():
        lines += _keyed(name, [unusable_line(failed)])
    if figures["unit"] == "cost" and currency(figures):
        costs = ", ".join(f"{entry['name']} {number(entry['cost'], '.3g')}" for entry in entries)
        lines += _keyed("cost", [f"{costs} {currency(figures)} a question"])
    return lines + _keyed("budget", budget_lines(entries))


def fallback_line(entry: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """How often a strategy's row is rag's."""
    return f"rag's answer in {entry['fallback']} of {figures['questions']}"


def left_out_line(entry: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """How many questions were too long for a strategy, and for which limit; its figures are of the others."""
    why = ", ".join(f"{'the window' if limit == 'window' else limit} {n}" for limit, n in entry["left_out"].items())
    number = sum(entry["left_out"].values())
    questions = counted(figures["questions"], "question")
    return f"left out of {number} of {questions}, too long for {why}; its figures are of the others"


def unusable_line(failed: int) -> str:
    """Why a strategy is left out."""
    return f"no row without an error ({failed:,} failed)" if failed else "left out of every question: too long for it"


def interval_notes(figures: Mapping[str, Any]) -> list[str]:
    """Why the intervals say less than they seem to, if they do."""
    lonely, datasets = figures["lonely_datasets"], len(figures["datasets"])
    have = "has" if lonely == 1 else "have"
    among = f"{lonely} of {counted(datasets, 'dataset')}"
    return [f"the intervals: {among} {have} one question, and so no spread"] if lonely else []


def cut_line(figures: Mapping[str, Any]) -> str:
    """How often what was run had to be cut, and to what; "" where nothing was."""
    ran = [entry for entry in figures["strategies"] if entry["truncated"] and not entry["label"]]
    if not ran:
        return ""
    limit = (figures["run"]["budget"] or {}).get("max_prompt_tokens")
    to = f"max_prompt_tokens {limit:,} or the window" if limit else "the window"
    each = ", ".join(f"{entry['name']} {entry['truncated']}" for entry in ran)
    return f"cut to {to} in {ran[0]['truncated'] if len(ran) == 1 else each} of {figures['questions']}"


def budget_lines(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Per limit that was set, the share of rows that kept it, for what was run."""
    kept: dict[str, list[str]] = {}
    for entry in (entry for entry in entries if not entry["label"]):
        for name, value in entry["kept"].items():
            share = "not known" if value["share"] is None else f"{value['share']:.0%}"
            kept.setdefault(f"{name} {value['limit']:,}", []).append(f"{entry['name']} {share}")
    return [f"{limit} kept: {', '.join(shares)}" for limit, shares in kept.items()]


def _keyed(key: str, texts: Sequence[str]) -> list[str]:
    return [f"{key if place == 0 else '':<12}{text}" for place, text in enumerate(texts)]


def _slices(title: str, entries: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], last: str = "") -> list[str]:
    names = [entry["name"] for entry in figures["strategies"]]
    rows = [(title, "n", *names, "full/rag/tie", "router took")]
    for entry in entries:
        scores = (number(mean(entry["scores"][name])) for name in names)
        rows.append((entry["name"], str(entry["questions"]), *scores, shares(entry["wins"]), counts(entry["chosen"])))
    if last:
        rows.append((last, "", *(number(entry["task_mean"]) for entry in figures["strategies"])))
    return columns(rows)


def mean(score: Mapping[str, float] | None) -> float | None:
    """Of a score; None where there is none."""
    return score["mean"] if score is not None else None


def shares(wins: Mapping[str, float]) -> str:
    """On how many questions full scores higher, rag does, and neither does."""
    return " / ".join(f"{wins[way]:.0%}" for way in ("full", "rag", "tie")) if wins else "-"


def counts(chosen: Mapping[str, int]) -> str:
    """How often the router took what."""
    return ", ".join(f"{name} {n}" for name, n in chosen.items()) or "-"


def _closed_book(control: Mapping[str, Any] | None) -> list[str]:
    if control is None:
        return []
    others = {name: values["without"] for name, values in control["strategies"].items()}
    scores = ", ".join(f"{name} {interval(score)}" for name, score in others.items() if score is not None)
    text = f"answers {control['known']} of {control['questions']} without documents; without these: {scores or '-'}"
    return ["", *_keyed("closed book", [text])]

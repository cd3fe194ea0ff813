"""The layouts of design: what an answer, a plan and an explanation look like on a terminal."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout.documents import DocumentInfo
from turnout.types import Answer, Citation, Decision

QUOTE_WIDTH = 160
DEMONSTRATION = (
    "note: answered by a small demonstration model; name a better one with --model URL|PATH|ID or TURNOUT_MODEL"
)


def answer_lines(answer: Answer) -> list[str]:
    """The answer with its citation marks, then one line per citation: what goes to stdout."""
    if answer.abstained:
        near = answer.nearest
        text = answer.text
        if near is not None:
            text += f' Nearest passage, not an answer: {shown(near.place)} "{_short(near.quote, 80)}"'
        return [text]
    marks = "".join(f"[{i}]" for i, _ in enumerate(answer.citations, start=1))
    lines = [f"{answer.text} {marks}".rstrip()]
    lines += [f"[{i}] {citation_line(citation)}" for i, citation in enumerate(answer.citations, start=1)]
    return lines


def citation_line(citation: Citation) -> str:
    """Place, quote, and whether it was found there; "matched" or "attended" where the program attached it."""
    quote = f'"{_short(citation.quote, QUOTE_WIDTH)}"'
    if citation.found is None:
        return f"{quote}  not found in the text"
    how = "found" if citation.found == "exact" else f"found after {citation.found.removeprefix('normalised:')}"
    if citation.origin != "quoted":
        how = citation.origin
    support = "" if citation.support is None else f", support {citation.support:.2f}"
    return f"{shown(citation.place)}  {quote}  {how}{support}"


def shown(place: str) -> str:
    """A place with its path as seen from the current folder: app/main.py:12, not the absolute path."""
    return place.removeprefix(f"{Path.cwd()}{os.sep}")


def usage_line(answer: Answer, *, kept: bool = True) -> str:
    """Seconds, tokens and how to see why; with the limits that were broken, if any."""
    usage = answer.usage
    aside = [
        f"{name} {seconds:.1f} s"
        for name, seconds in (("load", usage.load_s), ("index", usage.index_s))
        if seconds > 0.05
    ]
    first_use = f" (and {', '.join(aside)})" if aside else ""
    line = (
        f"{usage.total_s:.1f} s{first_use}"
        f"  {usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached) + {usage.completion_tokens}"
    )
    if usage.scanned_tokens:
        line += f", {usage.scanned_tokens:,} read to choose them"
    if currency := currency_of(answer.decision.signals):
        line += f"  {money(usage.cost, currency)}"
    if kept:
        line += f"  id {answer.id}  why: turnout explain {answer.id}"
    if answer.budget.broken:
        line += f"\nbudget not met: {', '.join(answer.budget.broken)}"
    return line


def document_lines(documents: Sequence[DocumentInfo], decision: Decision, seconds: float) -> list[str]:
    """What was read, in one line, and one more for each thing that conversion could not read."""
    signals = decision.signals
    pages = sum(document.pages for document in documents)
    what = documents[0].title if len(documents) == 1 else f"{len(documents)} documents"
    figures = [f"{signals['document_tokens']:,} tokens", f"{signals['segments']:,} segments"]
    if pages:
        figures.insert(0, f"{pages:,} pages")
    notes = [f"note: {document.title}: {note}" for document in documents for note in document.notes]
    return [f"{what}  {', '.join(figures)}, read in {seconds:.1f} s", *notes]


def decision_line(decision: Decision) -> str:
    """One line before work starts: the choice, its predicted first word, and what the others lack."""
    chosen = decision[decision.chosen]
    about = "" if chosen.ttft_s is None else f"first word in about {chosen.ttft_s:.1f} s"
    lacking = [(c.strategy, c.excluded_by) for c in decision.candidates if c.excluded_by is not None]
    others = [
        f"{name} needs {_number(broken.needed)}, {_limit(broken.limit)} is {_number(broken.allowed)}"
        for name, broken in lacking
        if broken.allowed is not None
    ]
    beside = f"  ({'; '.join(others)})" if others else ""
    return f"{decision.chosen}: {about}{beside}"


def currency_of(signals: Mapping[str, Any]) -> str:
    """The currency of a decision's costs; "" where they are seconds of this machine, as those of old records are."""
    return str(signals.get("pricing", {}).get("currency", ""))


def money(cost: float | None, currency: str) -> str:
    """A cost with its currency."""
    return f"- {currency}" if cost is None else f"{cost:.3g} {currency}"


def candidate_table(candidates: Sequence[Mapping[str, Any]], currency: str = "") -> list[str]:
    """The candidates of a decision (their JSON form), chosen first, excluded last.

    Args:
        currency: of costs, which are shown where they are more than seconds.
    """
    priced = ("cost",) if currency else ()
    rows = [("", "quality", "first word", "total", "prompt", "memory", *priced, "")]
    for c in candidates:
        broken, reasons = c["excluded_by"], "; ".join(reason for reason in c["reasons"] if reason)
        name = f"{'>' if c['chosen'] else ' '} {c['strategy']}"
        prompt = f"{c['prompt_tokens']:,}" if c["prompt_tokens"] is not None else "-"
        if broken and broken["limit"] == "tier":
            reasons = f"excluded: {broken['why']}"  # what it would take is known
        elif broken:
            why = (
                broken["why"] or f"{_number(broken['needed'])} > {_limit(broken['limit'])} {_number(broken['allowed'])}"
            )
            rows.append((name, "-", "-", "-", prompt, "-", *("-" for _ in priced), f"excluded: {why}"))
            continue
        spread = (c["quality_high"] - c["quality_low"]) / 2 if c["quality_high"] is not None else 0.0
        quality = "-" if c["quality"] is None else f"{c['quality']:.2f} ±{spread:.2f}"
        rows.append(
            (
                name,
                quality,
                _seconds(c["ttft_s"]),
                _seconds(c["total_s"]),
                prompt,
                "-" if c["memory_bytes"] is None else f"{c['memory_bytes'] / 2**30:.1f} GiB",
                *(money(c["cost"], currency) for _ in priced),
                f"chosen: {reasons}" if c["chosen"] else reasons,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(6 + len(priced))]
    widths[0] = max(widths[0], 10)
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def explanation(record: Mapping[str, Any], question: str | None, documents: Sequence[str]) -> list[str]:
    """The whole of `turnout explain`, from the ledger's record."""
    decision, usage, model, kept = record["decision"], record["usage"], record["model"], record["budget"]
    signals = decision["signals"]
    chosen = next(c for c in decision["candidates"] if c["chosen"])
    limits = ", ".join(f"{name} {value:g}" for name, value in kept["limits"].items())
    outcome = "not in the text" if record["abstained"] else "answered"
    measured = (
        f"first word {_seconds(usage['ttft_s'])} (predicted {_seconds(chosen['ttft_s'])}),"
        f" total {_seconds(usage['total_s'])} ({_seconds(chosen['total_s'])}),"
        f" prompt {usage['prompt_tokens']:,} ({chosen['prompt_tokens']:,})"
    )
    if currency := currency_of(signals):
        measured += f", cost {money(usage['cost'], currency)} ({money(chosen['cost'], currency)})"
    if limits:
        measured += ", budget met" if kept["met"] else f", budget not met: {', '.join(kept['broken'])}"
    head = [
        ("question", f"{question or '(not kept)'}   ({signals['task']})   {', '.join(documents)}"),
        (
            "documents",
            f"{signals['documents']}, {signals['document_tokens']:,} tokens, {signals['segments']} segments,"
            f" window {signals['window']:,}",
        ),
        (
            "model",
            f"{model['name']}{'+' + model['adapter'] if model['adapter'] else ''}"
            f"   profile {model['profile'] or 'not measured'}   policy {decision['policy']}"
            f"   budget {limits or 'none'}",
        ),
    ]
    tail = [
        ("measured", measured),
        ("outcome", f"{outcome}, {_cited(record['citations'])}"),
        *(("attempt", attempt_line(each)) for each in usage.get("attempts", ()) if "follow_up" not in each),
        *(("because", text) for text in decision["because"]),
        *(("would flip", text) for text in decision["would_flip"]),
        ("steps", ", ".join(record["trace"])),
        ("based on", signals["basis"]),
    ]
    table = candidate_table(decision["candidates"], currency_of(signals))
    return [*(f"{name:12}{text}" for name, text in head), *table, *(f"{name:12}{text}" for name, text in tail)]


def attempt_line(attempt: Mapping[str, Any]) -> str:
    """What a strategy took that was asked and did not answer, and why it did not."""
    took = f"{attempt['strategy']} {_seconds(attempt['total_s'])}"
    if "failed" in attempt:
        return f"{took}, failed: {attempt['failed']}"
    support = attempt["support"]
    likely = "" if support is None else f", support {support:.2f}"
    tokens = f"{attempt['prompt_tokens']:,} prompt tokens + {attempt['completion_tokens']}"
    return f"{took}, {tokens}{likely}, given up: {attempt['given_up']}"


def _cited(citations: Sequence[Mapping[str, Any]]) -> str:
    found = sum(1 for c in citations if c["found"] and c["origin"] == "quoted")
    matched, attended = (sum(1 for c in citations if c["origin"] == origin) for origin in ("matched", "attended"))
    lost = sum(1 for c in citations if not c["found"])
    counted = ((found, "quotes found"), (matched, "matched"), (attended, "attended"), (lost, "quotes not found"))
    parts = [f"{n} {word}" for n, word in counted if n]
    return ", ".join(parts) or "no citation"


def _short(text: str, width: int) -> str:
    return textwrap.shorten(" ".join(text.split()), width, placeholder=" ...")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def _limit(name: str) -> str:
    return {"memory": "free memory"}.get(name, name)

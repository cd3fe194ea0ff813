"""The report as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from turnout.errors import ConfigurationError, MissingExtraError
from turnout.router.evaluation.plots import draw
from turnout.router.evaluation.report_text import (
    against_best,
    budget_lines,
    counted,
    counts,
    currency,
    cut_line,
    fallback_line,
    header,
    interval,
    interval_notes,
    is_partial,
    left_out_line,
    number,
    shares,
    unusable_line,
)
from turnout.router.evaluation.rows import Row, write_atomically

DEFINITIONS = (
    ("score", "by answer type: token F1, number match, list item F1, choice accuracy, ROUGE-L, or 1 for declining an "
     "unanswerable question; the mean over datasets of each dataset's mean. Within one task, length or dataset it is "
     "the mean over its questions."),
    ("[low, high]", "95% interval of a bootstrap that draws whole documents within each dataset, 2,000 times."),
    ("vs best single", "score minus that of the strategy that scored highest here, question by question. It was picked "
     "after seeing the scores, which favours it a little. One that was left out of questions is not picked where "
     "another one answered all, and is compared over those that it answered."),
    ("told apart", "zero lies outside the 95% interval of the difference. The number needed is how many questions of "
     "this kind would bring the interval down to the difference that was seen."),
    ("s/question", "seconds from the call to the whole answer, mean over questions; loading the model and indexing the "
     "documents are not in it."),
    ("first word", "seconds from the call to the first character that the caller sees, median over questions."),
    ("prompt", "tokens that the model was given, mean over questions, every attempt counted."),
    ("quotes found", "of the quotes that the model gave, the share that stands in the documents, exactly or after one "
     "named normalisation. Sentences matched to an answer don't count: they are found by construction."),
    ("citations in gold", "citations that overlap the gold evidence, over all found ones, on questions with gold "
     "evidence."),
    ("evidence", "share of the answered questions with gold evidence on which a quote of the model itself overlaps it; "
     "sentences matched to an answer don't count."),
    ("not-in-text P/R", "precision: share of the refusals that were right; recall: share of the unanswerable questions "
     "that were refused. Refused wrongly: share of the answerable ones that were."),
    ("regret", "the oracle's score minus this one."),
    ("cut", "answers for which the documents were cut in the middle, because they were over the limit."),
    ("cached", "answers for which the engine re-used text that it had read before."),
    ("oracle", "the best strategy on each question, chosen after seeing the scores: no router can reach it, since part "
     "of it is luck."),
    ("task_rule", "LaRA's fixed rule, told the gold task: comparison and summarisation take full, unanswerable takes "
     "rag, the others full up to a quarter of the window and rag beyond."),
    ("random", "full for a random share of questions and rag for the rest, at the router's mean cost where that lies "
     "between theirs; an expectation."),
    ("self_route", "rag, and full where rag declines; the declined call is in its cost."),
    ("closed", "the model without any document: what it knew before."),
)  # fmt: skip


def write_page(figures: Mapping[str, Any], rows: Sequence[Row], path: str | Path) -> None:
    """Writes the report page.

    Args:
        figures: of `figures.figures`.
        rows: of the run, for the times of single questions.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        ConfigurationError: no file can be written there.
    """
    path = Path(path)
    hint = "give another --page FILE, or --no-page"
    if path.is_dir():
        raise ConfigurationError(f"the page can't be written to {path}: it is a folder", hint=hint)
    text = page(figures, rows)
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ConfigurationError(f"the page can't be written to {path}: {error.strerror}", hint=hint) from error


def page(figures: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The report page's HTML; the same figures and rows give the same text."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report page", "eval") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        {"counted": counted, "counts": counts, "interval": interval, "number": number, "shares": shares}
        | {"against_best": against_best, "is_partial": is_partial}
    )
    template = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        f=figures,
        run=figures["run"],
        names=[entry["name"] for entry in figures["strategies"]],
        header=header(figures["run"], figures),
        plots=draw(figures, rows),
        priced=figures["unit"] == "cost",
        currency=currency(figures),
        notes=_notes(figures),
        facts=_facts(figures["run"]),
        definitions=DEFINITIONS,
    )


def _notes(figures: Mapping[str, Any]) -> list[str]:
    """What must be known to read the main table."""
    entries = figures["strategies"]
    notes = [f"{entry['name']}: {entry['label']}" for entry in entries if entry["label"]]
    notes += [f"{entry['name']}: {left_out_line(entry, figures)}" for entry in entries if entry["left_out"]]
    notes += [f"{entry['name']}: {fallback_line(entry, figures)}" for entry in entries if entry["fallback"]]
    notes += [f"{name}: {unusable_line(failed)}" for name, failed in figures["unusable"].items()]
    notes += [cut] if (cut := cut_line(figures)) else []
    notes += interval_notes(figures)
    if figures["left_out"]:
        notes.append(f"{counted(figures['left_out'], 'question')} left out: a row failed or is missing")
    return notes + budget_lines(entries)


def _facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How it was measured, as names and values."""
    model, overhead, budget = run["model"], run["overhead"] or {}, run["budget"] or {}
    limits = ", ".join(f"{name} {value}" for name, value in budget.items() if value is not None)
    harness = overhead.get("harness_share")
    facts = [
        ("model", f"{model['name']}, window {model['window']:,} tokens, fingerprint {model['fingerprint']}"),
        ("device", run["device"]),
        ("versions", ", ".join(f"{name} {version}" for name, version in (run["versions"] or {}).items())),
        ("questions from", f"set {run['set']}" if run["set"] else f"{run['limit'] or 'all'} per dataset"),
        ("malformed rows skipped", run["malformed"]),
        ("seed", run["seed"]),
        ("cache", _CACHE.get(run["cache"], run["cache"])),
        ("budget", limits),
        (
            "full over the window",
            {"cut": "cut in the middle", "leave-out": "left out"}.get(run["over_window"] or "cut"),
        ),
        ("router", "calibrated, for each question, on the run's other documents" if run["cross_fit"] else None),
        ("costs measured", run["profile_measured"] or "no: estimates of this machine were used"),
        ("command", run["command"]),
        ("run", f"{run['created']} to {run['finished'] or 'not finished'}, turnout {run['turnout']}"),
        ("harness", None if harness is None else f"{harness:.1%} of the engine's time"),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


_CACHE = {
    "cold": "cold: nothing of a question's documents was in any cache",
    "session": "session: each strategy re-used what itself had read, in the order of the questions",
}

"""Measuring: run every strategy over a set of questions, report, compare.

Every function here is one command of `turnout eval`; see docs/evaluation.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from turnout import __version__
from turnout.config import Settings
from turnout.errors import ConfigurationError, MissingExtraError, UnknownNameError
from turnout.labelling import Labelling
from turnout.progress import Progress, silent
from turnout.types import Budget

if TYPE_CHECKING:
    from turnout.contracts import Embedder, Engine
    from turnout.parts import Parts
    from turnout.router.evaluation.arms import OverWindow
    from turnout.router.evaluation.inputs import Inputs
    from turnout.router.evaluation.items import Malformed
    from turnout.router.evaluation.run_store import RunStore
    from turnout.router.quality import QualityModel


__all__ = ["LABELS", "Labelling", "compare", "report", "report_lines", "routing", "run"]

LABELS = ("1", "2", "both", "none")
"""The verdicts of `Labelling.keep`."""


def run(
    questions: Sequence[str | Path],
    documents: Sequence[str | Path],
    out: str | Path,
    *,
    strategies: Sequence[str] = ("all",),
    limit: int | None = None,
    question_set: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    cache: Literal["cold", "session"] = "cold",
    over_window: OverWindow = "leave-out",
    parallel: int = 1,
    strict: bool = False,
    decide_again: bool = False,
    cross_fit: bool = False,
    on_bad: Callable[[Malformed], None] = lambda bad: None,
    progress: Progress = silent,
    engine: Engine | None = None,
    embedder: Embedder | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Runs strategies over questions and keeps a row for each in `out`; a run that was killed goes on.

    Args:
        questions: files or folders of questions, `.jsonl` or `.jsonl.gz`; docs/evaluation.md has the schema.
        documents: files or folders of the documents that they name.
        out: the run's folder.
        strategies: names of rows, or "all".
        limit: questions per dataset, core ones first, stratified by task.
        question_set: a committed list of ids (dev300, dev150, lara90), or a file of ids.
        budget: limits of the router; `max_prompt_tokens` holds for every strategy.
        cache: "cold" isolates each row, "session" lets a strategy re-use what it has read.
        over_window: "leave-out" asks no strategy what is too long for it, as the product does; "cut" gives `full` what
            fits of it, and says so.
        parallel: questions at once, for engines that answer several.
        strict: a malformed row ends the run before it begins.
        decide_again: the router decides anew, with what is known of the model now; rows of strategies stay. Its limits
            may be others than before.
        cross_fit: the router decides anew, each question with a calibration of quality that was fitted without its
            documents; the profile's own is not used.
        on_bad: called for each malformed row.
        options: `model`, `home` and the like, as for `Turnout`.

    Returns:
        The run's facts, as run.json has them; `left_out` counts the questions that were too long, by strategy and
        limit.

    Raises:
        ConfigurationError: nothing to ask, a folder of another run, or, if `strict`, a malformed row.
    """
    from turnout.parts import Parts
    from turnout.router.evaluation import inputs, labels, runner
    from turnout.router.evaluation.arms import OVER_WINDOW
    from turnout.router.evaluation.run_store import RunStore
    from turnout.router.policy import check
    from turnout.router.profile import ModelProfile
    from turnout.router.request import Machinery

    settings = Settings.load(**options)
    limits = budget or Budget()
    check(limits)
    decide_again = decide_again or cross_fit
    if over_window not in OVER_WINDOW:
        raise UnknownNameError("over_window", over_window, OVER_WINDOW)
    given = inputs.load(questions, documents, on_bad, limit=limit, question_set=question_set, seed=seed)
    if strict and given.bad:
        raise ConfigurationError(
            f"malformed rows: {len(given.bad)}, the first: {given.bad[0]}", hint="mend them, or leave --strict"
        )
    with contextlib.ExitStack() as stack:
        parts = stack.enter_context(contextlib.closing(Parts(settings, engine, embedder, progress)))
        store = stack.enter_context(contextlib.closing(RunStore(Path(out))))
        names = runner.choose(strategies, parts.strategies, parts.quality)
        runner.check_parallel(parts.engine, cache, parallel)
        store.open(
            _facts(parts, given)
            | {"seed": seed, "cache": cache, "parallel": parallel, "set": question_set, "limit": limit}
            | {"budget": dataclasses.asdict(limits), "over_window": over_window, "strategies": names},
            other_limits=decide_again,
        )
        labels.keep_questions(store.folder, given.items)
        apart = dataclasses.replace(settings, home=store.index.absolute(), log="off")
        index = stack.enter_context(contextlib.closing(Parts(apart, parts.engine, parts.embedder, progress)))
        began = time.perf_counter()
        inputs.keep(index.library, given.documents.values(), progress)
        store.facts["passes"].append({"started": _now(), "index_s": time.perf_counter() - began})
        if "profile" not in store.facts:  # a run that goes on predicts from the same measurements as before
            store.facts["profile"] = parts.profile.record()
        profile = ModelProfile.from_record(store.facts["profile"])
        if decide_again:
            profile = dataclasses.replace(profile, quality=None if cross_fit else parts.profile.quality)
            store.facts |= {"profile": profile.record(), "cross_fit": cross_fit}
        # The router chooses among strategies that have rows.
        own = [strategy for strategy in index.strategies if strategy.name in store.facts["strategies"]]
        bench = runner.Bench(
            machinery=Machinery(
                parts.engine, own, profile, index.ledger, index.retriever, parts.pricing, cite=settings.cite
            ),
            documents=given.documents,
            corpus=index.corpus,
            tokens=index.tokens,
            new_tokens=given.new_tokens,
            budget=limits,
            cache=cache,
            over_window=over_window,
            parallel=parallel,
            progress=progress,
            quality_of=_fitted_apart(store, parts) if cross_fit else {},
        )
        if decide_again:
            store.forget_decisions()
        runner.run(bench, given.items, store.facts["strategies"], store)
        failed = sum(row["error"] is not None for row in store.rows.values())
        store.facts |= {"finished": _now(), "failed_rows": failed, "left_out": _left_out(store.rows.values())}
        store.facts["overhead"] = _overhead(store.facts["passes"])
        store.save()
        return store.facts


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _facts(parts: Parts, given: Inputs) -> dict[str, Any]:
    """What a run rests on: software, machine, model, inputs."""
    import psutil

    from turnout import system
    from turnout.retrieval.learned_band import LearnedBand
    from turnout.router.evaluation.rows import SCHEMA

    model = parts.engine.model
    return {
        "schema": SCHEMA,
        "turnout": __version__,
        "created": _now(),
        "finished": None,
        "command": shlex.join(["turnout", *sys.argv[1:]]),
        "model": {
            "name": model.full_name,
            "fingerprint": model.fingerprint,
            "window": model.window,
            "parameters": model.parameters,
        },
        "prices": parts.pricing.record() if parts.prices else None,
        "passage_tokens": parts.settings.passage_tokens,
        "embedder": parts.embedding,
        "ldar": LearnedBand(parts.settings.ldar).sha256 if parts.settings.ldar else None,
        "cite": parts.settings.cite,
        "device": system.device(),
        "cores": psutil.cpu_count(),
        "versions": system.versions(),
        "inputs": list(given.hashes),
        "questions": len(given.items),
        "documents": len(given.documents),
        "malformed": len(given.bad),
    }


def _fitted_apart(store: RunStore, parts: Parts) -> dict[str, QualityModel]:
    """By question, what its strategies are expected to score, learned from the run's other documents."""
    from turnout.router.calibration import quality as fitting
    from turnout.router.quality import prior

    observed = fitting.observe(list(store.rows.values()), store.decisions)
    fitting.check_enough(observed)
    before = fitting.best_prior(prior(parts.engine.model.parameters), observed)
    return {each.question_id: model for each, model in fitting.held_out(before, observed)}


def _left_out(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many questions each strategy was left out of, by the limit that they broke."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if "left_out" in row:
            found.setdefault(row["strategy"], Counter())[row["left_out"]["limit"]] += 1
    return {name: dict(limits) for name, limits in found.items()}


def _overhead(passes: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Seconds of all passes, and what the harness took as a share of the engine's time; None where not known."""
    sums: dict[str, float | None] = {
        name: sum(each.get(name) or 0.0 for each in passes) for name in ("index_s", "wall_s", "engine_s", "rows_s")
    }
    harness = [each.get("harness_s") for each in passes if each.get("engine_s")]
    known = bool(harness) and None not in harness
    sums["harness_s"] = sum(h for h in harness if h is not None) if known else None
    engine_s = sums["engine_s"]
    sums["harness_share"] = sums["harness_s"] / engine_s if sums["harness_s"] is not None and engine_s else None
    return sums


def report(folder: str | Path, page: str | Path | None = None, *, with_page: bool = True) -> dict[str, Any]:
    """The figures of a run, and its page.

    Args:
        folder: of the run.
        page: where the HTML page goes; `report.html` in the run's folder by default.
        with_page: whether a page is written at all.

    Returns:
        {"figures": everything the page shows, "page": where it is, None where none was written: it was not wanted, or
        the extra `eval` is not installed}.

    Raises:
        ConfigurationError: the folder holds no run, or a damaged one, or the page can't be written.
    """
    from turnout.router.evaluation import figures, report_page, rows

    found = rows.read_run(Path(folder))
    result = figures.figures(found)
    if not with_page:
        return {"figures": result, "page": None}
    path = Path(page) if page is not None else Path(folder) / "report.html"
    try:
        report_page.write_page(result, found.rows, path)
    except MissingExtraError:
        return {"figures": result, "page": None}
    return {"figures": result, "page": str(path)}


def report_lines(figures: Mapping[str, Any], *, details: bool = False, page: str = "") -> list[str]:
    """The report for a terminal."""
    from turnout.router.evaluation.report_text import terminal

    return terminal(figures, details=details, page=page)


def compare(a: str, b: str, fail_under: float | None = None) -> dict[str, Any]:
    """Two runs, or two strategies of one, over the questions that both have.

    Args:
        a: "DIR" or "DIR:strategy"; the router without a strategy.
        b: as `a`.
        fail_under: `failed` is true where B minus A is below it.

    Returns:
        {"score", "datasets", "tasks", "ratios", "differ", "failed", "lines": the same for a terminal, ...}.
    """
    from turnout.router.evaluation import compare as comparing

    found = comparing.compare(a, b, fail_under)
    return found | {"lines": comparing.comparison_lines(found)}


def routing(
    predictions: str | Path,
    questions: str | Path,
    seed: int = 0,
    checked: str | Path | None = None,
    *,
    groups: str | Path | None = None,
    strict: bool = False,
    on_bad: Callable[[Malformed], None] = lambda bad: None,
) -> tuple[dict[str, Any], list[str]]:
    """The router's choices, scored on answers that LaRA's models have already given: (figures, terminal lines).

    Args:
        predictions: LaRA's predictions, graded here.
        questions: the questions that they answer.
        checked: a reader's verdicts on some of them, to check the grading rules against.
        groups: which documents have text in common, as JSON; a document with an id of its own by default.
        strict: a malformed line ends the evaluation before it begins.
        on_bad: called for each malformed line.

    Raises:
        ConfigurationError: a file is missing or holds nothing usable, or, if `strict`, a malformed line.
        MissingExtraError: the extra `eval` is not installed.
    """
    from turnout.router.evaluation import routing as policies
    from turnout.router.evaluation import routing_text

    result = policies.evaluate(predictions, questions, seed, checked, groups, strict=strict, on_bad=on_bad)
    return result, routing_text.lines(result)

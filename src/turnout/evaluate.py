"""Measuring: run every strategy over a set of questions, report, compare.

Every function here is one command of `turnout eval`; see docs/evaluation.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from turnout import __version__
from turnout.config import Settings
from turnout.errors import ConfigurationError, DocumentError, MissingExtraError
from turnout.progress import Progress, silent
from turnout.types import Budget, Document, Text

if TYPE_CHECKING:
    from turnout.contracts import Embedder, Engine
    from turnout.parts import Parts
    from turnout.router.evaluation.items import Doc, Item, Malformed

COLLECTION = "evaluation"


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
    parallel: int = 1,
    strict: bool = False,
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
        parallel: questions at once, for servers.
        strict: a malformed row ends the run before it begins.
        on_bad: called for each malformed row.
        options: `model`, `home` and the like, as for `Turnout`.

    Returns:
        The run's facts, as run.json has them.

    Raises:
        ConfigurationError: nothing to ask, a folder of another run, or, if `strict`, a malformed row.
    """
    from turnout.parts import Parts
    from turnout.router.evaluation import runner
    from turnout.router.evaluation.run_store import RunStore

    settings = Settings.load(**options)
    bad: list[Malformed] = []

    def note(malformed: Malformed) -> None:
        bad.append(malformed)
        on_bad(malformed)

    items, docs, new_tokens = _read(questions, documents, note, limit, question_set, seed)
    if strict and bad:
        raise ConfigurationError(f"{len(bad)} malformed rows, the first: {bad[0]}", hint="mend them, or leave --strict")
    limits = budget or Budget()
    with contextlib.ExitStack() as stack:
        parts = stack.enter_context(contextlib.closing(Parts(settings, engine, embedder, progress)))
        store = stack.enter_context(contextlib.closing(RunStore(Path(out))))
        names = runner.choose(strategies, parts.strategies)
        runner.check_parallel(parts.engine, cache, parallel)
        facts = store.open(
            _facts(parts, items, seed, cache, limits, parallel, question_set, limit)
            | {"inputs": _hashes([*questions, *documents]), "strategies": names, "malformed": len(bad)}
        )
        apart = dataclasses.replace(settings, home=store.index.absolute(), log="off")
        index = stack.enter_context(contextlib.closing(Parts(apart, parts.engine, parts.embedder, progress)))
        known = _index(index, docs, items, note)
        items = [item for item in items if all(doc_id in known for doc_id in item.doc_ids)]
        bench = runner.Bench(
            machinery=dataclasses.replace(index.machinery(), profile=parts.profile),
            documents=known,
            corpus=index.corpus,
            tokens=index.tokens,
            new_tokens=new_tokens,
            budget=limits,
            cache=cache,
            parallel=parallel,
            progress=progress,
        )
        facts |= {"profile_measured": parts.profile.measured, "malformed": len(bad), "questions": len(items)}
        facts["passes"].append(runner.run(bench, items, facts["strategies"], store))
        facts |= {"finished": time.strftime("%Y-%m-%d %H:%M:%S"), "overhead": _overhead(facts["passes"])}
        store.finish([(item.id, name) for item in items for name in facts["strategies"]], facts)
    return facts


def _read(
    questions: Sequence[str | Path],
    documents: Sequence[str | Path],
    note: Callable[[Malformed], None],
    limit: int | None,
    question_set: str | None,
    seed: int,
) -> tuple[list[Item], dict[str, Doc], dict[str, int]]:
    from turnout.router.evaluation import items as reading
    from turnout.router.evaluation import sets

    if limit is not None and question_set is not None:
        raise ConfigurationError(
            f"limit {limit} and set {question_set!r} exclude each other", hint="a set is a fixed list: leave one out"
        )
    items = reading.read_items([Path(p) for p in questions], note)
    new_tokens = reading.new_tokens(items)
    if question_set is not None:
        items = sets.pick(items, sets.load_set(question_set))
    elif limit is not None:
        items = sets.select(items, limit, seed)
    docs = reading.read_docs([Path(p) for p in documents], {i for item in items for i in item.doc_ids}, note)
    items = reading.with_documents(items, docs, note)
    if not items:
        raise ConfigurationError("no question that can be asked", hint="see the malformed rows, or the paths given")
    return items, docs, new_tokens


def _index(
    parts: Parts, docs: Mapping[str, Doc], items: Sequence[Item], note: Callable[[Malformed], None]
) -> dict[str, Document]:
    """Keeps the documents of the questions in the run's own library; by the set's ids, as they are kept."""
    from turnout.retrieval.convert import convert_text
    from turnout.retrieval.library import Pending
    from turnout.router.evaluation.items import Malformed

    known: dict[str, Document] = {}
    for doc_id in dict.fromkeys(i for item in items for i in item.doc_ids):
        doc = docs[doc_id]
        try:
            known[doc_id] = convert_text(Text(doc.text, doc.title or doc_id, source=doc_id))
        except DocumentError as error:
            note(Malformed(doc_id, 0, error.reason))
    parts.library.add_many(
        (Pending(document) for document in known.values()),
        collection=COLLECTION,
        progress=lambda done, total: parts.progress("embedding", done, total),
    )
    return known


def _facts(
    parts: Parts,
    items: Sequence[Item],
    seed: int,
    cache: str,
    budget: Budget,
    parallel: int,
    question_set: str | None,
    limit: int | None,
) -> dict[str, Any]:
    import psutil

    from turnout import system
    from turnout.router.evaluation.rows import SCHEMA

    model = parts.engine.model
    return {
        "schema": SCHEMA,
        "turnout": __version__,
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
        "finished": None,
        "command": shlex.join(["turnout", *sys.argv[1:]]),
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "window": model.window,
            "parameters": model.parameters,
        },
        "device": system.device(),
        "cores": psutil.cpu_count(),
        "versions": system.versions(),
        "seed": seed,
        "cache": cache,
        "parallel": parallel,
        "set": question_set,
        "limit": limit,
        "budget": dataclasses.asdict(budget),
        "questions": len(items),
        "documents": len({i for item in items for i in item.doc_ids}),
    }


def _hashes(paths: Sequence[str | Path]) -> dict[str, str]:
    """SHA-256 of each input file, so that rows of different questions are never mixed."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


def _overhead(passes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Seconds of all passes, and what the harness took as a share of the engine's time."""
    sums = {name: sum(each[name] for each in passes) for name in ("wall_s", "engine_s", "rows_s", "harness_s")}
    return sums | {"harness_share": sums["harness_s"] / sums["engine_s"] if sums["engine_s"] else 0.0}


def report(folder: str | Path, page: str | Path | None = None) -> dict[str, Any]:
    """The figures of a run, and its page.

    Args:
        folder: of the run.
        page: where the HTML page goes; `report.html` in the run's folder by default.

    Returns:
        {"figures": everything the page shows, "page": where it is, None where the extra `eval` is not installed}.

    Raises:
        ConfigurationError: the folder holds no run, or a damaged one.
    """
    from turnout.router.evaluation import figures, report_page, rows

    found = rows.read_run(Path(folder))
    result = figures.figures(found)
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
        {"score", "datasets", "tasks", "ratios", "failed", "lines": the same for a terminal, ...}.
    """
    from turnout.router.evaluation import compare as comparing

    found = comparing.compare(a, b, fail_under)
    return found | {"lines": comparing.comparison_lines(found)}


def routing(
    predictions: str | Path, questions: str | Path, seed: int = 0, checked: str | Path | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The router's choices, scored on answers that LaRA's models have already given: (figures, terminal lines).

    Args:
        predictions: LaRA's predictions, graded here.
        questions: the questions that they answer.
        checked: a reader's verdicts on some of them, to check the grading rules against.

    Raises:
        ConfigurationError: a file is missing or holds nothing usable.
        MissingExtraError: the extra `eval` is not installed.
    """
    from turnout.router.evaluation import routing as policies
    from turnout.router.evaluation import routing_text

    result = policies.evaluate(predictions, questions, seed, checked)
    return result, routing_text.lines(result)

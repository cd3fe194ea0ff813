"""Runs every strategy over every question, one row each."""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Literal

from turnout.contracts import Engine, Fragments, Strategy
from turnout.documents import Document
from turnout.engines.prompt import CLOSED_BOOK_TASK
from turnout.errors import BudgetError, ConfigurationError, EngineError, UnknownNameError
from turnout.progress import Progress, Watch
from turnout.record import decision_json
from turnout.retrieval.corpus import Corpus
from turnout.router.evaluation import ask
from turnout.router.evaluation.arms import CutFull, OverWindow
from turnout.router.evaluation.ask import CLOSED, ROUTER, SELF_ROUTE, Asked, Row
from turnout.router.evaluation.derived import DERIVED
from turnout.router.evaluation.items import Item
from turnout.router.evaluation.run_store import Key, RunStore
from turnout.router.quality import QualityModel
from turnout.router.request import Machinery
from turnout.router.strategies import UNPROVEN
from turnout.types import Budget, Context, GenerationParams, Question

CacheMode = Literal["cold", "session"]
COPIED = (ROUTER, SELF_ROUTE)
"""Rows that are put together from those of `full` and `rag`."""

GIVE_UP_AFTER = 5


def choose(names: Sequence[str], strategies: Sequence[Strategy], quality: QualityModel | None = None) -> list[str]:
    """The rows that a run has, by name: those asked for, and those that the copied ones are put together from.

    Args:
        quality: what was measured of the model; of strategies in preview it tells which are chosen among unasked.

    Raises:
        UnknownNameError: no such strategy or baseline.
    """
    own = [strategy.name for strategy in strategies]
    known = [ROUTER, *own, CLOSED, SELF_ROUTE]
    if not names:
        raise ConfigurationError("no strategy is named", hint=f"known: all, {', '.join((*known, *DERIVED))}")
    for name in names:
        if name not in (*known, *DERIVED, "all"):
            raise UnknownNameError("strategy", name, [*known, *DERIVED, "all"])
    usual = [name for name in own if name not in UNPROVEN or (quality is not None and quality.knows(name))]
    wanted = set(names)
    if "all" in wanted:
        wanted |= {ROUTER, *usual, CLOSED, SELF_ROUTE}
    if wanted & {ROUTER, *DERIVED}:
        wanted |= {ROUTER, *usual}
    if SELF_ROUTE in wanted:
        wanted |= {"full", "rag"}
    return [name for name in known if name in wanted]


def check_parallel(engine: Engine, cache: CacheMode, parallel: int) -> None:
    """Refuses several questions at once where they can't be.

    Raises:
        ConfigurationError: the engine answers one at a time, or the questions of a session come in order.
    """
    if parallel > 1 and "concurrent" not in engine.capabilities:
        raise ConfigurationError(
            f"{engine.model.name} answers one question at a time, parallel is {parallel}",
            hint="leave --parallel out; it is for servers and local models",
        )
    if parallel > 1 and cache == "session":
        raise ConfigurationError(
            f"a session reads its questions in order, parallel is {parallel}",
            hint="leave --parallel out, or use --cache cold",
        )


@dataclass
class Bench:
    """What a run works with: the machinery of the product over documents of its own.

    Attributes:
        documents: by the question set's ids.
        tokens: of a document, in the reader's tokenizer.
        new_tokens: most for each question's answer, by question id.
        over_window: what becomes of questions whose documents `full` can't read whole.
        parallel: questions at once, for engines that take several; more than one makes the times those of a busy
            server.
        quality_of: by question id, what the router shall expect of strategies instead of the profile's estimates.
    """

    machinery: Machinery
    documents: Mapping[str, Document]
    corpus: Callable[[Sequence[Document]], Corpus]
    tokens: Callable[[Document], int]
    new_tokens: Mapping[str, int]
    budget: Budget
    cache: CacheMode
    over_window: OverWindow = "leave-out"
    parallel: int = 1
    progress: Progress = lambda stage, done, total: None
    quality_of: Mapping[str, QualityModel] = field(default_factory=dict)
    # New for each pass: what another run, or this one before it was killed, left in a server's cache is not read.
    namespace: str = field(default_factory=lambda: secrets.token_hex(8))
    engine_s: float = field(default=0.0, init=False)
    rows_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        engine = self.machinery.engine
        lock = threading.Lock() if self.parallel > 1 else None
        self.arms: dict[str, Strategy] = {
            s.name: CutFull(engine) if self._cuts(s) else _OneAtATime(s, lock) if lock else s
            for s in self.machinery.strategies
        }

    def _cuts(self, strategy: Strategy) -> bool:
        return self.over_window == "cut" and strategy.name == "full"


def run(bench: Bench, items: Sequence[Item], names: Sequence[str], store: RunStore) -> None:
    """Fills the store with a row for each question and name; what is there already stays.

    In a cold run each row has a cache namespace of its own. In a session each strategy has one, and goes through all
    questions in their order before the next strategy begins; what a killed session had read is gone with it, so a
    strategy that was not finished starts again.

    Rows that failed are run again.

    Raises:
        EngineError: GIVE_UP_AFTER questions in a row failed; what was measured stays.
    """
    order = [(item.id, name) for item in items for name in names]
    store.forget(lambda row: row["error"] is not None)
    if bench.cache == "session":
        _drop_unfinished(store, order)
    _score_again(items, names, store)
    total = len(order)
    done = total - sum(key not in store.rows for key in order)
    if done < total:
        warm_up(bench)
    timing = _Timing(bench)
    streak = 0
    for rows, decision in _rows(bench, items, names, store):
        if decision is not None:
            store.add_decision(decision)
        for row in rows:
            store.add(row)
        streak = _failures(rows, streak)
        done += len(rows)
        store.facts["passes"][-1] |= timing.add(rows)
        store.save()
        bench.progress("evaluating", done, total)
    store.finish(order)


def _failures(rows: Sequence[Row], streak: int) -> int:
    """How many questions in a row have failed in every strategy.

    Raises:
        EngineError: too many; the engine is down, and every further row would fail too.
    """
    run_here = [row for row in rows if row["strategy"] not in COPIED]
    if not run_here or not all(row["error"] for row in run_here):
        return 0 if run_here else streak
    if streak + 1 >= GIVE_UP_AFTER:
        raise EngineError(
            f"{GIVE_UP_AFTER} questions in a row failed, the last one with: {run_here[-1]['error']['message']}",
            hint="mend what fails; the same command then goes on, failed rows first",
        )
    return streak + 1


class _Timing:
    """Seconds of a pass. `harness_s` is what was spent outside of the rows, indexing and loading set aside; with
    several questions at once it can't be told."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._begin = time.perf_counter()
        self._aside = 0.0

    def add(self, rows: Sequence[Row]) -> dict[str, float | None]:
        for row in rows:
            if row["strategy"] not in COPIED:
                self._aside += row["usage"].get("load_s", 0.0) + row["usage"].get("index_s", 0.0)
        bench, elapsed = self._bench, time.perf_counter() - self._begin
        harness = elapsed - self._aside - bench.rows_s if bench.parallel == 1 else None
        return {"wall_s": elapsed, "engine_s": bench.engine_s, "rows_s": bench.rows_s, "harness_s": harness}


def warm_up(bench: Bench) -> None:
    """Loads the model and lets it read a few words, so that no row pays for it."""
    engine = bench.machinery.engine
    engine.open()
    for _ in engine.generate(Context((), "ready?", task=CLOSED_BOOK_TASK), GenerationParams(max_tokens=2)):
        pass


Batch = tuple[list[Row], dict[str, Any] | None]
"""Rows of one question, and the router's decision where it was made now."""


def _rows(bench: Bench, items: Sequence[Item], names: Sequence[str], store: RunStore) -> Iterator[Batch]:
    """Rows that are missing, a few at a time, in the order in which they are measured."""
    executed = [name for name in names if name not in COPIED]
    if bench.cache == "session":
        for name in executed:
            for item in items:
                if (item.id, name) not in store.rows:
                    yield [_execute(bench, _prepare(bench, item), name)], None
        for item in items:
            yield _copied(bench, item, names, store.rows)
        return

    def question(item: Item) -> Batch:
        asked = _prepare(bench, item)
        rows = [_execute(bench, asked, name) for name in executed if (item.id, name) not in store.rows]
        measured = {(row["question_id"], row["strategy"]): row for row in rows}
        mine = {(item.id, name): store.rows[item.id, name] for name in names if (item.id, name) in store.rows}
        copied, decision = _copied(bench, item, names, mine | measured, asked)
        return rows + copied, decision

    missing = [item for item in items if any((item.id, name) not in store.rows for name in names)]
    if bench.parallel == 1:
        yield from map(question, missing)
        return
    with ThreadPoolExecutor(bench.parallel) as pool:
        for done in as_completed([pool.submit(question, item) for item in missing]):
            yield done.result()


def _prepare(bench: Bench, item: Item) -> Asked:
    return ask.prepare(
        item, bench.documents, bench.machinery, bench.corpus, bench.tokens, bench.budget, bench.new_tokens[item.id]
    )


def _execute(bench: Bench, asked: Asked, name: str) -> Row:
    namespace = f"{bench.namespace}/{name}" if bench.cache == "session" else f"{bench.namespace}/{asked.item.id}/{name}"
    if name == CLOSED:
        row, engine_s = ask.run_closed_book(asked, bench.machinery, namespace)
    else:
        row, engine_s = ask.run_strategy(asked, bench.arms[name], bench.machinery, namespace)
    bench.rows_s += row["usage"].get("total_s", 0.0)
    bench.engine_s += engine_s
    return row


def _copied(
    bench: Bench,
    item: Item,
    names: Sequence[str],
    rows: Mapping[Key, Row],
    asked: Asked | None = None,
) -> Batch:
    """The rows of the router and of Self-Route for one question, where they are wanted and missing."""
    made: list[Row] = []
    record = None
    if ROUTER in names and (item.id, ROUTER) not in rows:
        asked = asked or _prepare(bench, item)
        try:
            decision, seconds = ask.decide(asked, _deciding(bench, item))
            record = decision_json(decision)
            made.append(ask.router_row(rows[item.id, decision.chosen], decision, seconds))
        except BudgetError as error:
            made.append(ask.refused_row(asked, error, asked.gather_s))
    if SELF_ROUTE in names and (item.id, SELF_ROUTE) not in rows:
        made.append(ask.self_route_row(rows[item.id, "rag"], rows[item.id, "full"]))
    return made, record


def _deciding(bench: Bench, item: Item) -> Machinery:
    """The machinery with what is known of the strategies where this question is asked."""
    if item.id not in bench.quality_of:
        return bench.machinery
    profile = dataclasses.replace(bench.machinery.profile, quality=bench.quality_of[item.id])
    return dataclasses.replace(bench.machinery, profile=profile)


def _score_again(items: Sequence[Item], names: Sequence[str], store: RunStore) -> None:
    """Scores what is there by the metrics of today: only answers are expensive."""
    for item in items:
        for name in names:
            row = store.rows.get((item.id, name))
            if row is not None and row["error"] is None and "left_out" not in row:
                row.update(ask.scored(item, row["answer"], row["abstained"]))


def _drop_unfinished(store: RunStore, order: Sequence[Key]) -> None:
    unfinished = {name for question, name in order if (question, name) not in store.rows}
    store.forget(lambda row: row["strategy"] in unfinished)


class _OneAtATime:
    """A strategy that prepares for one question at a time; answers are still written at once."""

    def __init__(self, strategy: Strategy, lock: threading.Lock) -> None:
        self._strategy = strategy
        self._lock = lock
        self.name = strategy.name
        self.quotable = not isinstance(strategy, Fragments) or strategy.quotable

    def estimate(self, *arguments: Any) -> Any:
        return self._strategy.estimate(*arguments)

    def warm(self, corpus: Corpus) -> None:
        with self._lock:
            self._strategy.warm(corpus)

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        with self._lock:
            return self._strategy.prepare(question, corpus, budget, watch)

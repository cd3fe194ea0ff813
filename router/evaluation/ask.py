"""One question through one strategy: a row of measurements."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.contracts import Strategy
from turnout.documents import Document
from turnout.errors import BudgetError, ConfigurationError, TurnoutError
from turnout.progress import silent
from turnout.retrieval.corpus import Corpus
from turnout.router import deciding, policy
from turnout.router.clock import Clock
from turnout.router.evaluation import items, metrics
from turnout.router.evaluation.arms import CutFull, closed_book, too_long
from turnout.router.evaluation.items import Item
from turnout.router.pipeline import carry_out
from turnout.router.questions import task_of
from turnout.router.request import Machinery, Request
from turnout.router.signals import Signals
from turnout.types import Answer, Budget, Candidate, Citation, Decision, Done, Question, Usage

CLOSED, SELF_ROUTE, ROUTER = "closed", "self_route", "router"

Row = dict[str, Any]
Span = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its documents, ready to be run."""

    item: Item
    documents: Mapping[str, Document]
    request: Request
    signals: Signals
    gather_s: float

    @property
    def decision_id(self) -> str:
        """The same in every run over this question, so that two runs can be compared line by line."""
        return hashlib.sha256(self.item.id.encode()).hexdigest()[:12]


def prepare(
    item: Item,
    documents: Mapping[str, Document],
    machinery: Machinery,
    corpus: Callable[[Sequence[Document]], Corpus],
    tokens: Callable[[Document], int],
    budget: Budget,
    max_new_tokens: int,
) -> Asked:
    """Gathers what every strategy needs of a question. Options are part of what the model is asked; retrieval searches
    for the question alone."""
    unique = list({documents[i].id: documents[i] for i in item.doc_ids}.values())
    text = items.prompt_question(item)
    question = Question(
        text=text,
        standalone=item.question,
        task=task_of(text),
        max_new_tokens=max_new_tokens,
    )
    request = Request(question, corpus(unique), sum(map(tokens, unique)), budget)
    clock = Clock()
    # Other questions of the run are no others': they would make decisions depend on how it is run.
    known = dataclasses.replace(deciding.signals(request, machinery), load=None, wait_s=(0.0, 0.0, 0.0))
    gathered = clock.total_s()
    if machinery.search is not None:
        machinery.search.warm(request.corpus)  # indexing is not part of deciding
        clock = Clock()
        # Kept for calibrations, which may find that it helps; only then does deciding take it.
        if (found := deciding.look(request, machinery)) is not None:
            known = known.searched(found)
        quality = machinery.profile.quality
        gathered += clock.total_s() if quality is not None and quality.search else 0.0
    return Asked(item, {i: documents[i] for i in item.doc_ids}, request, known, gathered)


def decide(asked: Asked, machinery: Machinery) -> tuple[Decision, float]:
    """The router's own choice, inside the whole budget, and the seconds that it took, gathering signals included.

    Raises:
        BudgetError: no strategy is inside the limits.
    """
    clock = Clock()
    decision = deciding.choose(asked.signals, asked.request, machinery)
    return dataclasses.replace(decision, id=asked.decision_id), asked.gather_s + clock.total_s()


def run_strategy(asked: Asked, strategy: Strategy, machinery: Machinery, namespace: str) -> tuple[Row, float]:
    """A strategy's row, and the seconds that the engine took of it. What is too long for the strategy is left out.

    Of the budget only `max_prompt_tokens` holds here: a limit of time would leave questions without a row, and whether
    it was kept can be read from the row.
    """
    budget = Budget(max_prompt_tokens=asked.request.budget.max_prompt_tokens)
    row = _blank(asked, strategy.name)
    request = dataclasses.replace(asked.request, budget=budget, cache_namespace=namespace)
    # What is told is how far the run is, not each row.
    alone = dataclasses.replace(machinery, strategies=(strategy,), progress=silent)
    try:
        candidate = strategy.estimate(asked.signals, machinery.profile, budget)
        row["predicted"] = _predicted(candidate)
        if (left_out := too_long(candidate, budget)) is not None:
            return row | {"left_out": left_out}, 0.0
        decision = policy.decide([candidate], budget, asked.signals, machinery.profile, strategy.name)
        answer, engine_s = _answer(decision, request, alone)
    except ConfigurationError:
        raise
    except TurnoutError as error:
        return row | _failed(error), 0.0
    if isinstance(strategy, CutFull):
        row["truncated"] = strategy.is_cut(asked.signals, budget)
    row["usage"] = dataclasses.asdict(answer.usage)
    row["citations"] = _citations(asked, answer.citations)
    row["support"] = dict(answer.support)
    row["sources"] = [
        {"doc_id": c.document.id, "start": c.start, "end": c.end} for c in answer.citations if c.document and c.found
    ]
    return row | scored(asked.item, answer.text, answer.abstained), engine_s


def run_closed_book(asked: Asked, machinery: Machinery, namespace: str) -> tuple[Row, float]:
    """The model's row without any document, and the seconds that the engine took of it."""
    row = _blank(asked, CLOSED)
    try:
        reply = closed_book(asked.request.question, machinery, namespace)
    except ConfigurationError:
        raise
    except TurnoutError as error:
        return row | _failed(error), 0.0
    row["usage"] = dataclasses.asdict(reply.usage)
    return row | scored(asked.item, reply.text, reply.abstained), reply.usage.total_s


def router_row(chosen: Row, decision: Decision, decide_s: float) -> Row:
    """The chosen strategy's row with the decision's own seconds; it is never run again."""
    candidate = decision[decision.chosen]
    usage = dict(chosen["usage"])
    # Deciding takes this machine's seconds: a cost only where there are no prices.
    priced = bool(decision.signals["pricing"]["currency"])
    for name in ("ttft_s", "total_s") if priced else ("ttft_s", "total_s", "cost"):
        if usage.get(name) is not None:
            usage[name] += decide_s
    return chosen | {
        "strategy": ROUTER,
        "chosen": decision.chosen,
        "decide_s": decide_s,
        "usage": usage,
        "predicted": _predicted(candidate),
        "decision_id": decision.id,
    }


def self_route_row(rag: Row, full: Row) -> Row:
    """Self-Route (arXiv 2407.16833): what rag answers, or full's answer where rag declines, with both calls counted.
    Where full is left out, there is no second call.

    Decoding is greedy and the prompts are those of rag and full, so their rows are what its calls would give.
    """
    if rag["error"] or not rag["abstained"] or "left_out" in full:
        return rag | {"strategy": SELF_ROUTE}
    first, second = rag["usage"], full["usage"]
    usage = dict(second)
    for name in _SUMMED if second else ():
        # The failed call is over before the second begins: its whole time comes before the first word.
        before = first["total_s"] if name in ("ttft_s", "first_token_s") else first[name]
        usage[name] = None if before is None or second[name] is None else before + second[name]
    if second and None not in (first["peak_memory_bytes"], second["peak_memory_bytes"]):
        usage["peak_memory_bytes"] = max(first["peak_memory_bytes"], second["peak_memory_bytes"])
    usage["attempts"] = [{"strategy": "rag", "declined": True, "total_s": first["total_s"]}]
    return full | {"strategy": SELF_ROUTE, "usage": usage, "predicted": dict(_UNPREDICTED)}


_SUMMED = (
    "prompt_tokens", "cached_tokens", "soft_tokens", "completion_tokens", "first_token_s", "ttft_s", "total_s",
    "load_s", "index_s", "cost",
)  # fmt: skip
_UNPREDICTED = {"ttft_s": None, "total_s": None, "prompt_tokens": None, "cost": None, "quality": None}


def refused_row(asked: Asked, error: BudgetError, decide_s: float) -> Row:
    """The router's row where no strategy is inside the limits: its user gets no answer, so it scores 0."""
    usage = dataclasses.asdict(Usage(total_s=decide_s))
    row = _blank(asked, ROUTER) | {"chosen": None, "decide_s": decide_s, "refused": error.message, "usage": usage}
    return row | scored(asked.item, "", False)


def _answer(decision: Decision, request: Request, machinery: Machinery) -> tuple[Answer, float]:
    clock = Clock()
    for event in carry_out(decision, request, machinery, clock):
        if isinstance(event, Done):
            return event.answer, clock.step_seconds("generate")
    raise RuntimeError("the pipeline ended without an answer")


def _blank(asked: Asked, strategy: str) -> Row:
    item = asked.item
    return {
        "question_id": item.id,
        "dataset": item.dataset,
        "task": item.task,
        "answer_type": item.answer_type,
        "strategy": strategy,
        "score": None,
        "metric": "",
        "metrics": {},
        "answer": "",
        "abstained": False,
        "citations": {"given": 0, "found": 0, "supported": None, "quoted": 0, "quoted_found": 0},
        "usage": {},
        "predicted": dict(_UNPREDICTED),
        "decision_id": asked.decision_id,
        "truncated": False,
        "fallback": None,
        "error": None,
        "context_tokens": asked.signals.full_tokens,
        "cluster": items.cluster(item),
    }


def scored(item: Item, text: str, abstained: bool) -> Row:
    """The fields of a row that follow from the answer alone."""
    score = metrics.score(item, text, abstained)
    return {
        "answer": text,
        "abstained": abstained,
        "score": score.value,
        "metric": score.metric,
        "metrics": dict(score.metrics),
    }


def _failed(error: TurnoutError) -> Row:
    return {"error": {"kind": type(error).__name__, "message": error.message}}


def _predicted(candidate: Candidate) -> Row:
    return {name: getattr(candidate, name) for name in _UNPREDICTED}


def _citations(asked: Asked, cited: Sequence[Citation]) -> dict[str, int | None]:
    """Counts the citations given, those found, and those of them that overlap gold evidence; and the same of the quotes
    that the model itself gave."""
    given: list[Span | None] = [
        (c.document.id, c.start, c.end) if c.document and c.start is not None and c.end is not None else None
        for c in cited
    ]
    quoted = [span for span, c in zip(given, cited, strict=True) if c.origin == "quoted"]
    gold = _gold(asked)
    own = metrics.citations(quoted, gold)
    return metrics.citations(given, gold) | {
        "quoted": own["given"],
        "quoted_found": own["found"],
        "quoted_supported": own["supported"],
    }


def _gold(asked: Asked) -> list[Span] | None:
    """Gold evidence in the offsets of our documents; None where there is none that can be placed."""
    placed = [e for e in asked.item.evidence or () if e.start is not None and e.end is not None]
    return [(asked.documents[e.doc_id].id, e.start or 0, e.end or 0) for e in placed] or None

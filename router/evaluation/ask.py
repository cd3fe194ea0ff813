"""One question through one strategy: a row of measurements."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnout.contracts import Strategy
from turnout.errors import TurnoutError
from turnout.retrieval.corpus import Corpus
from turnout.router import policy
from turnout.router.clock import Clock
from turnout.router.evaluation import items, metrics
from turnout.router.evaluation.arms import CutFull, closed_book
from turnout.router.evaluation.items import Item
from turnout.router.pipeline import Machinery, Request, carry_out, plan
from turnout.router.questions import task_of
from turnout.router.signals import Signals, gather
from turnout.types import Answer, Budget, Candidate, Citation, Decision, Document, Done, Question

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

    @property
    def decision_id(self) -> str:
        """The same in every run over this question, so that two runs can be compared line by line."""
        return hashlib.sha256(self.item.id.encode()).hexdigest()[:8]


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
    question = Question(
        text=items.prompt_question(item),
        standalone=item.question,
        task=task_of(item.question),
        max_new_tokens=max_new_tokens,
    )
    request = Request(question, corpus(unique), sum(map(tokens, unique)), budget)
    signals = gather(
        question, request.corpus, machinery.engine, request.document_tokens, machinery.engine.free_memory_bytes()
    )
    return Asked(item, {i: documents[i] for i in item.doc_ids}, request, signals)


def decide(asked: Asked, machinery: Machinery) -> tuple[Decision, float]:
    """The router's own choice, inside the whole budget, and the seconds that it took.

    Raises:
        BudgetError: no strategy is inside the limits.
    """
    clock = Clock()
    decision = plan(asked.request, machinery)
    return dataclasses.replace(decision, id=asked.decision_id), clock.total_s()


def run_strategy(asked: Asked, strategy: Strategy, machinery: Machinery, namespace: str) -> tuple[Row, float]:
    """A strategy's row, and the seconds that the engine took of it.

    Of the budget only `max_prompt_tokens` holds here: a limit of time would leave questions without a row, and whether
    it was kept can be read from the row.
    """
    budget = Budget(max_prompt_tokens=asked.request.budget.max_prompt_tokens)
    row = _blank(asked, strategy.name)
    request = dataclasses.replace(asked.request, budget=budget, cache_namespace=namespace)
    alone = dataclasses.replace(machinery, strategies=(strategy,))
    try:
        candidate = strategy.estimate(asked.signals, machinery.profile, budget)
        row["predicted"] = _predicted(candidate)
        decision = policy.decide([candidate], budget, asked.signals, machinery.profile.measured)
        answer, engine_s = _answer(decision, request, alone)
    except TurnoutError as error:
        return row | _failed(error), 0.0
    if isinstance(strategy, CutFull):
        row["truncated"] = strategy.is_cut(asked.signals, budget)
    row["usage"] = dataclasses.asdict(answer.usage)
    row["citations"] = _citations(asked, answer.citations)
    return row | scored(asked.item, answer.text, answer.abstained), engine_s


def run_closed_book(asked: Asked, machinery: Machinery, namespace: str) -> tuple[Row, float]:
    """The model's row without any document, and the seconds that the engine took of it."""
    row = _blank(asked, CLOSED)
    try:
        reply = closed_book(asked.request.question, machinery.engine, namespace)
    except TurnoutError as error:
        return row | _failed(error), 0.0
    row["usage"] = dataclasses.asdict(reply.usage)
    return row | scored(asked.item, reply.text, reply.abstained), reply.usage.total_s


def router_row(chosen: Row, decision: Decision, decide_s: float) -> Row:
    """The chosen strategy's row with the decision's own seconds; it is never run again."""
    candidate = decision[decision.chosen]
    usage = dict(chosen["usage"])
    for name in ("ttft_s", "total_s", "cost"):
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

    Decoding is greedy and the prompts are those of rag and full, so their rows are what its calls would give.
    """
    if rag["error"] or not rag["abstained"]:
        return rag | {"strategy": SELF_ROUTE}
    if full["error"]:
        return full | {"strategy": SELF_ROUTE}
    first, second = rag["usage"], full["usage"]
    usage = dict(second)
    for name in ("prompt_tokens", "cached_tokens", "soft_tokens", "completion_tokens", "total_s", "cost", "ttft_s"):
        # The failed call is over before the second begins: its whole time comes before the first word.
        before = first["total_s"] if name == "ttft_s" else first[name]
        usage[name] = None if before is None or second[name] is None else before + second[name]
    usage["attempts"] = [{"strategy": "rag", "declined": True, "total_s": first["total_s"]}]
    return full | {"strategy": SELF_ROUTE, "usage": usage}


def failed_router_row(asked: Asked, error: TurnoutError) -> Row:
    """The router's row where no strategy is inside the limits."""
    return _blank(asked, ROUTER) | {"chosen": None, "decide_s": None} | _failed(error)


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
        "citations": {"given": 0, "found": 0, "supported": None},
        "usage": {},
        "predicted": {"ttft_s": None, "total_s": None, "prompt_tokens": None, "quality": None},
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
    return {name: getattr(candidate, name) for name in ("ttft_s", "total_s", "prompt_tokens", "quality")}


def _citations(asked: Asked, cited: Sequence[Citation]) -> dict[str, int | None]:
    """Counts the quotes given, those found, and those of them that overlap gold evidence."""
    given: list[Span | None] = [
        (c.document.id, c.start, c.end) if c.document and c.start is not None and c.end is not None else None
        for c in cited
    ]
    return metrics.citations(given, _gold(asked))


def _gold(asked: Asked) -> list[Span] | None:
    """Gold evidence in the offsets of our documents; None where there is none that can be placed."""
    spans: list[Span] = []
    for evidence in asked.item.evidence or ():
        document = asked.documents.get(evidence.doc_id)
        if document is None:
            continue
        start, end = evidence.start, evidence.end
        if start is None or end is None:
            start = document.text.find(evidence.text) if evidence.text else -1
            end = start + len(evidence.text or "")
        elif evidence.text is not None and document.text[start:end] != evidence.text:
            continue  # reading the text moved its offsets
        if start >= 0:
            spans.append((document.id, start, end))
    return spans or None

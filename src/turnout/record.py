"""An answer as the JSON that people and programs see: one shape for --json, the ledger and evaluation rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from turnout.types import Answer, Budget, Candidate, Citation, Decision, Exclusion

SCHEMA = 1
"""Version of the shape; a field is only ever added within one version."""


CUT = "cut "
"""Begins the note of an answer that a limit ended."""


def finish_reason(answer: Answer) -> str:
    """Why the answer ends: "length" where a limit on tokens or seconds ended it, else "stop"."""
    return "length" if any(note.startswith(CUT) for note in answer.notes) else "stop"


def answer_json(answer: Answer) -> dict[str, Any]:
    """The whole answer, as docs/answer.md describes it."""
    return {
        "schema": SCHEMA,
        "id": answer.id,
        "question": answer.question,
        "text": answer.text,
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "citations": [citation_json(citation) for citation in answer.citations],
        "nearest": citation_json(answer.nearest) if answer.nearest else None,
        **figures(answer),
    }


def figures(answer: Answer) -> dict[str, Any]:
    """What an answer took and why: everything in `answer_json` that holds no text of answer or documents."""
    return {
        "usage": dataclasses.asdict(answer.usage),
        "decision": decision_json(answer.decision),
        "budget": {
            "limits": dict(answer.budget.limits),
            "met": answer.budget.met,
            "broken": list(answer.budget.broken),
        },
        "model": {
            "name": answer.model.name,
            "revision": answer.model.revision,
            "adapter": answer.model.adapter,
            "profile": answer.decision.signals.get("profile"),
        },
        "trace": list(answer.trace),
        "notes": list(answer.notes),
    }


def citation_json(citation: Citation) -> dict[str, Any]:
    document = citation.document
    return {
        "doc_id": document.id if document else None,
        "title": document.title if document else None,
        "start": citation.start,
        "end": citation.end,
        "page": citation.page,
        "line": citation.line,
        "place": citation.place,
        "quote": citation.quote,
        "found": citation.found,
        "support": citation.support,
        "origin": citation.origin,
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "chosen": decision.chosen,
        "policy": decision.policy,
        "candidates": [candidate_json(candidate) for candidate in decision.candidates],
        "budget": dataclasses.asdict(decision.budget),
        "signals": dict(decision.signals),
        "because": list(decision.because),
        "would_flip": list(decision.would_flip),
        "on_paper": decision.on_paper,
    }


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    fields = dataclasses.asdict(candidate)
    fields["reasons"] = list(candidate.reasons)
    return fields


def decision_of(record: Mapping[str, Any]) -> Decision:
    """What `decision_json` wrote; what an earlier version did not write is as by default."""
    return Decision(
        id=record["id"],
        chosen=record["chosen"],
        policy=record["policy"],
        candidates=tuple(_candidate_of(fields) for fields in record["candidates"]),
        budget=Budget(**record["budget"]),
        signals=record["signals"],
        because=tuple(record["because"]),
        would_flip=tuple(record["would_flip"]),
        on_paper=record.get("on_paper"),
    )


def _candidate_of(fields: Mapping[str, Any]) -> Candidate:
    known = {name: value for name, value in fields.items() if name in Candidate.__dataclass_fields__}
    broken = known.get("excluded_by")
    known["excluded_by"] = None if broken is None else Exclusion(**broken)
    for name in ("reasons", "late_s"):
        if name in known:
            known[name] = tuple(known[name])
    return Candidate(**known)


def summary(answer: Answer) -> dict[str, Any]:
    """The ledger's record: figures, whether it abstained, and what kind of citations it has, without any text."""
    return figures(answer) | {
        "abstained": answer.abstained,
        "citations": [{"found": c.found, "origin": c.origin, "page": c.page, "line": c.line} for c in answer.citations],
    }


def text_of(answer: Answer) -> dict[str, Any]:
    """The ledger's content at log=full: the texts that `summary` leaves out."""
    return {"text": answer.text, "citations": [citation_json(citation) for citation in answer.citations]}

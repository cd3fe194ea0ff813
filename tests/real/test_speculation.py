"""The default model in float32 over questions of the evaluation data: proposals never change what is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support.speculation import Eager
from support.tiny_models import text_of

from turnout.documents import Span
from turnout.engines.local import LocalEngine
from turnout.engines.speculative.plan import DraftedContext, Speculation
from turnout.types import Context, GenerationParams, Part

pytestmark = [pytest.mark.real, pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(3600)]

DEV = Path(__file__).parents[3] / "shared/data/dev"
EACH = 10
"""Questions of each set, the first one of each document."""
AROUND, PASSAGE = 1200, 300
"""Characters around the evidence that are read, and that the drafter reads."""
PARAMS = GenerationParams(max_tokens=24)


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def part(text: str, around: int, characters: int) -> Part:
    start = max(min(around - characters // 2, len(text) - characters), 0)
    piece = text[start : start + characters]
    return Part(piece, Span("doc", start, start + len(piece)))


def questions() -> list[tuple[Part, Part, str]]:
    """(what the target reads, what the drafter reads, question)."""
    found: list[tuple[Part, Part, str]] = []
    for number, name in enumerate(("squad", "covidqa"), 1):
        texts = {document["doc_id"]: document["text"] for document in read(DEV / f"documents/{name}.jsonl.gz")}
        seen = set()
        for row in read(DEV / f"questions/{name}.jsonl.gz"):
            document = row["doc_ids"][0]
            if row["evidence"] and document not in seen and len(found) < EACH * number:
                seen.add(document)
                text, place = texts[document], row["evidence"][0]["start"]
                found.append((part(text, place, AROUND), part(text, place, PASSAGE), row["question"]))
    return found


def test_twenty_questions_are_answered_as_without_proposals(real_home: Path) -> None:
    engine = LocalEngine(real_home / "models/smollm2-135m", device="cpu", dtype="float32", lookup=False)
    engine._authors._pace_of_lookups = engine._authors._pace_of_drafts = Eager()
    asked = questions()
    assert len(asked) == 2 * EACH
    proposed = dict.fromkeys(("looked up", "drafted"), 0)
    accepted = dict(proposed)
    for whole, passage, question in asked:
        context = Context((whole,), question)
        drafted = DraftedContext((whole,), question, draft=(passage,), how=Speculation(confidence=0.0))
        engine.lookup = False
        plain = text_of(engine.generate(context, PARAMS))
        engine.lookup = True
        for name, given in (("looked up", context), ("drafted", drafted)):
            assert text_of(engine.generate(given, PARAMS)) == plain, f"{name}: {question}"
            counts = engine.drafted()
            proposed[name] += counts.drafted
            accepted[name] += counts.accepted
    engine.close()
    assert all(0 < accepted[name] < proposed[name] for name in proposed), (proposed, accepted)

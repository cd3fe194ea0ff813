"""The ways to use documents: one file each, one contract (`turnout.contracts.Strategy`), one line here.

To add one: write `router/strategies/<name>.py`, add its line to STRATEGIES; the cross-product tests take it in by
themselves. See CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from turnout.contracts import Engine, Retriever, Strategy
from turnout.router.strategies.full import Full
from turnout.router.strategies.rag import Rag

Tier = Literal["stable", "preview", "research"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What `turnout strategies` shows: only stable ones are candidates by default."""

    name: str
    tier: Tier
    what: str
    evidence: str


STRATEGIES: tuple[Entry, ...] = (
    Entry("full", "stable", "give the model every document whole", "LaRA (arXiv 2502.09977)"),
    Entry(
        "rag", "stable", "give it the passages that match, in document order", "LaRA; order: OP-RAG (arXiv 2409.01666)"
    ),
)


def build(engine: Engine, retriever: Retriever) -> Sequence[Strategy]:
    """The strategies that this engine can run, in the order of the table."""
    return (Full(engine), Rag(engine, retriever))

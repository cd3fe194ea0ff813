"""turnout decides, for each question over long documents, how to use the documents, and does it.

    from turnout import Turnout

    with Turnout() as t:
        answer = t.ask("How long does confidentiality last?", ["msa.pdf"])
        print(answer.text, answer.decision.chosen, answer.citations)

Importing this package loads no model library, opens no file and no socket: names are looked up when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it
_PUBLIC = {
    "Added": "turnout.inputs",
    "Answer": "turnout.types",
    "Budget": "turnout.types",
    "BudgetError": "turnout.errors",
    "Candidate": "turnout.types",
    "Citation": "turnout.types",
    "Cut": "turnout.types",
    "Decided": "turnout.types",
    "Decision": "turnout.types",
    "Decoding": "turnout.asking",
    "Document": "turnout.documents",
    "DocumentError": "turnout.errors",
    "DocumentInfo": "turnout.documents",
    "Done": "turnout.types",
    "EngineError": "turnout.errors",
    "Excerpt": "turnout.asking",
    "Hit": "turnout.asking",
    "Message": "turnout.types",
    "Reading": "turnout.types",
    "Retracted": "turnout.types",
    "Text": "turnout.documents",
    "TextDelta": "turnout.types",
    "Turnout": "turnout.client",
    "TurnoutError": "turnout.errors",
    "Usage": "turnout.types",
}

__all__ = [
    "Added",
    "Answer",
    "Budget",
    "BudgetError",
    "Candidate",
    "Citation",
    "Cut",
    "Decided",
    "Decision",
    "Decoding",
    "Document",
    "DocumentError",
    "DocumentInfo",
    "Done",
    "EngineError",
    "Excerpt",
    "Hit",
    "Message",
    "Reading",
    "Retracted",
    "Text",
    "TextDelta",
    "Turnout",
    "TurnoutError",
    "Usage",
    "__version__",
]

if TYPE_CHECKING:
    from turnout.asking import Decoding, Excerpt, Hit
    from turnout.client import Turnout
    from turnout.documents import Document, DocumentInfo, Text
    from turnout.errors import BudgetError, DocumentError, EngineError, TurnoutError
    from turnout.inputs import Added
    from turnout.types import (
        Answer,
        Budget,
        Candidate,
        Citation,
        Cut,
        Decided,
        Decision,
        Done,
        Message,
        Reading,
        Retracted,
        TextDelta,
        Usage,
    )


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'turnout' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

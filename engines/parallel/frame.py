"""What stands around the documents of a prompt, where they are not read with it."""

from __future__ import annotations

from turnout.documents import Span
from turnout.engines import prompt
from turnout.engines.prompt import PromptFormat
from turnout.engines.tokenizer import ChatTokenizer
from turnout.types import Context, Part

MARK = "\ue0f4\ue0f5"
"""Stands for the documents."""


def around(tokenizer: ChatTokenizer, context: Context, wording: PromptFormat) -> tuple[list[int], list[int]]:
    """The ids of a prompt before and after its documents, which stand before all earlier turns: so what is before them
    is always the same, but for what a system says."""
    one = Part(MARK, Span("", 0, len(MARK)), "")
    asked = Context((one,), context.question, context.history, context.task)
    ids, places = tokenizer.encode_placed(prompt.pieces(asked, wording, documents_first=True))
    begin, end = places[sum(turn.role == "system" for turn in context.history)]
    return ids[:begin], ids[end:]

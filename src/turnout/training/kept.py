"""What a model shall not forget: its own answers to other requests over the same texts, learnt along with the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from turnout.documents import Span
from turnout.engines.prompt import CLOSED_BOOK_TASK, ChatMessage, Piece
from turnout.training.data import Passage
from turnout.training.recipe import draws
from turnout.types import Context, Part

REQUESTS = (
    "Write a title for the text above.",
    "What is the text above about? Answer in two or three sentences.",
    "Explain the text above to a child.",
    "List the main points of the text above.",
    "Write down three questions that the text above answers.",
    "Rewrite the last sentence of the text above in your own words.",
    "Continue the text above with two more sentences.",
    "Write a short message to a friend about the text above.",
    "Describe the tone of the text above.",
    "What could happen next, or follow from this? Give one idea.",
    "List the names of people, places and organisations in the text above.",
    "Say in one sentence who would want to read the text above, and why.",
)
SUMMARIES = ("Summarise the text.", "Give an overview of the text.", "What are the main points?", "Sum up the text.")
NEW_TOKENS = 256
"""Of the model's own answers; longer ones are left out rather than learnt without their end."""

TEXT_CHARS = 3000
_NAME = re.compile(r"[A-Z][a-z]+( [A-Za-z]+)*")
"""Titles that name something; others are numbers of reviews and the like."""


def requests(passages: Sequence[Passage], count: int, seed: int) -> Iterator[list[ChatMessage] | Context]:
    """Chats to be answered by the model as it is: free requests over a passage, summaries, and questions without any
    document."""
    draw = draws("kept", seed)
    for number in range(count):
        passage = passages[draw.randrange(len(passages))]
        text = passage.text[:TEXT_CHARS]
        match number % 4:
            case 0:
                part = Part(text, Span(passage.id, 0, len(text)), passage.title)
                yield Context((part,), draw.choice(SUMMARIES), task="summarisation")
            case 1 if _NAME.fullmatch(passage.title):
                yield Context((), f"What do you know about {passage.title}?", task=CLOSED_BOOK_TASK)
            case _:
                request = Piece(f"\n\n{draw.choice(REQUESTS)}", True)
                yield [ChatMessage("user", (Piece(text, False), request))]

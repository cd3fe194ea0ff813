"""What a question asks for, read from its wording alone: the task cue, the expected answer, a standalone form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from turnout.router.options import listed
from turnout.types import Message, Question

TASKS = ("location", "reasoning", "comparison", "summarisation")
"""LaRA's observable task kinds, and summarisation. Its fourth kind, hallucination, can't be seen in a question."""

CHOICE = "choice"
"""The task cue of a question that lists its options, whatever kind it is otherwise."""

HISTORY_TOKENS = 512
"""Most tokens of earlier turns that go into a prompt; the latest turns are kept."""

_SUMMARISATION = re.compile(
    r"^\s*(please )?(describe|discuss|explain|compare and contrast)\b|\b(summar\w*|overview|outline"
    r"|what(['’]s| is| was| are| were) the (\w+ )?(significance|importance|relationships?|settings?) (of|between|in)"
    r"|what (did|do|does) .{1,60} (think|say|discuss|elaborate|suggest|propose|recommend|learn) (of|about|on|regarding)"
    r"|throughout the (story|book|novel|meeting|text|document|film)"
    r"|what(['’]s| is| was| were) the (plot|gist|discussions?) (of|on|about)"
    r"|main (points?|ideas?|topics?|themes?|arguments?)|key (points?|takeaways?)"
    r"|what (is|are) (this|the|these) (\w+ )?(documents?|texts?|papers?|stor(y|ies)|reports?|meetings?|files?) about"
    r"|in (a )?(few|short) words|tl;?dr)\b",
    re.IGNORECASE,
)
_COMPARISON = re.compile(
    r"\b(compar\w*|contrast\w*|differ\w*|versus|vs\.?|which (one )?of (the )?(two|these|following)|similarit\w*"
    r"|both|between .+ and .+|more .+ than|less .+ than|\w+er than|change[ds]? (from|between|over))\b",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\b(why|how (does|do|did|would|could|might|can) .+ (affect|influence|lead|relate|cause|contribute)|infer\w*"
    r"|impl(y|ies|ied)|explain|reason\w*|conclu\w*|suggest\w*|calculate|compute|total|sum|average|percentage"
    r"|how many .+ (in total|altogether)|what (would|could|might))\b",
    re.IGNORECASE,
)
_LEANS_ON_HISTORY = re.compile(
    r"^\s*(and|but|so|or|also|then|what about|how about)\b|\b(it|its|this|that|these|those|they|them|their|he|him|his"
    r"|she|her|there|the (former|latter|same))\b",
    re.IGNORECASE,
)

# New tokens by task: the cap is surface.md's, the expectation is what total time is predicted with.
_NEW_TOKENS = {
    "location": (48, 24),
    "reasoning": (128, 48),
    "comparison": (128, 48),
    "summarisation": (256, 160),
    CHOICE: (48, 12),
}


def task_of(question: str) -> str:
    """The task cue of a question: CHOICE where it lists options; else the most demanding kind whose words occur, and
    "location" without any."""
    if listed(question):
        return CHOICE
    for task, cue in (("summarisation", _SUMMARISATION), ("comparison", _COMPARISON), ("reasoning", _REASONING)):
        if cue.search(question):
            return task
    return "location"


def new_tokens(question: Question) -> tuple[int, int]:
    """(at most, expected) new tokens for an answer: the question's own bound and half of it, or those of its task."""
    if question.max_new_tokens is not None:
        return question.max_new_tokens, max(question.max_new_tokens // 2, 1)
    return _NEW_TOKENS[question.task]


def read(
    text: str,
    history: Sequence[Message],
    count: Callable[[str], int],
    instructions: str = "",
    max_new_tokens: int | None = None,
) -> Question:
    """Makes a Question of what the user typed and the conversation before it.

    The rule: a question that opens with a connective ("and", "what about") or holds a pronoun leans on the turn before
    it, so the last user turn is put in front of it for retrieval; any other question stands alone. The model itself
    sees the latest whole turns that fit HISTORY_TOKENS.

    Args:
        count: tokens of a text in the reader's tokenizer.
        instructions: what the caller wants of every answer; they lead what the model sees of the conversation.
        max_new_tokens: bounds the answer; the task's own bound by default.
    """
    question = text.strip()
    asked = [turn.text.strip() for turn in history if turn.role == "user"]
    leans = bool(asked) and _LEANS_ON_HISTORY.search(question) is not None
    standalone = f"{asked[-1]} {question}" if leans else question
    told = (Message("system", instructions.strip()),) if instructions.strip() else ()
    return Question(question, standalone, task_of(question), told + _latest(history, count), max_new_tokens)


def _latest(history: Sequence[Message], count: Callable[[str], int]) -> tuple[Message, ...]:
    kept: list[Message] = []
    left = HISTORY_TOKENS
    for turn in reversed(history):
        left -= count(turn.text)
        if left < 0:
            break
        kept.append(turn)
    kept.reverse()
    while kept and kept[0].role == "assistant":  # templates want the user to speak first
        kept.pop(0)
    return tuple(kept)

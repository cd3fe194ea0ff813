"""The prompt of a context with soft tokens: ids around embeddings, as a sequence reads them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch

from turnout.engines import prompt
from turnout.engines.answering import Alone, Steps
from turnout.engines.paged.sequence import Fragment, KvSequence, Soft
from turnout.engines.soft.kind import SoftContext, SoftKind
from turnout.engines.tokenizer import ChatTokenizer
from turnout.engines.writing import Writing
from turnout.errors import EngineError
from turnout.types import Context


def fragments(tokenizer: ChatTokenizer, context: SoftContext, kind: SoftKind) -> list[Fragment]:
    """The prompt, always worded as `prompt.PLAIN`: from soft tokens nothing can be quoted and no sentence numbered.

    Raises:
        EngineError: the soft tokens are not the engine's own, or damaged.
    """
    if context.kind != kind or len(context.soft) != len(context.parts):
        made = context.kind.fingerprint if context.kind else "nothing"
        raise EngineError(
            f"soft tokens made with {made} can't be read with {kind.fingerprint}", hint="make them with this engine"
        )
    ids = around(tokenizer, context)
    found: list[Fragment] = []
    for before, values in zip(ids, context.soft, strict=False):
        found.append(before)
        found += (_soft(value, kind) for value in values if value)
    return [fragment for fragment in (*found, ids[-1]) if len(fragment)]


def around(tokenizer: ChatTokenizer, context: Context) -> list[list[int]]:
    """The ids of a prompt before its first document, between every two, and after the last one."""
    marks = [f"\ue0f4{number}\ue0f5" for number in range(len(context.parts))]
    parts = tuple(replace(part, text=mark) for part, mark in zip(context.parts, marks, strict=True))
    messages = prompt.pieces(Context(parts, context.question, context.history, context.task), prompt.PLAIN)
    ids, places = tokenizer.encode_placed(messages)
    said = [piece.text for message in messages for piece in message.pieces if not piece.trusted]
    # Documents stand in the last message: what was said before may look like their marks.
    after = sum(not piece.trusted for message in messages[:-1] for piece in message.pieces)
    found, end = [], 0
    for mark in marks:
        after = said.index(mark, after)
        begin, stop = places[after]
        found.append(ids[end:begin])
        end = stop
    return [*found, ids[end:]]


def ids_of(given: list[Fragment]) -> list[int]:
    """The ids of a prompt; embeddings have ids of their own, which equal ones share."""
    return [token for fragment in given for token in (fragment.ids if isinstance(fragment, Soft) else fragment)]


def _soft(value: bytes, kind: SoftKind) -> Soft:
    if len(value) % kind.bytes_each:
        raise EngineError(
            f"{len(value):,} bytes are no soft tokens of {kind.bytes_each:,} each", hint="make them again"
        )
    tensor = torch.frombuffer(bytearray(value), dtype=getattr(torch, kind.dtype)).view(-1, kind.dimension)
    return Soft(tensor, hashlib.sha256(value).digest())


class OfSoft(Alone):
    """Reads fragments, in steps of its own, and writes alone.

    Args:
        sequence: empty.
    """

    def __init__(self, sequence: KvSequence, given: list[Fragment], writing: Writing) -> None:
        super().__init__(sequence, ids_of(given), writing)
        self._reads, self._given = sequence, given

    def begin(self) -> None:
        """See `Author.begin`."""
        self._reads.begin(*self._given, more=self._writing.most)

    def reading(self) -> Steps:
        """See `Author.reading`."""
        for read, logits in self._reads.read_on(*self._given):
            self._foretold = logits[None]
            yield read

"""A fake engine that can do all that engines may do, and what it says is easy to foretell."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from functools import cached_property

from turnout.engines.fake import _TOKEN, FakeEngine
from turnout.engines.locating import Stretch
from turnout.engines.parallel.kind import ParallelKind
from turnout.engines.soft.kind import SoftContext, SoftKind
from turnout.engines.speculative.plan import Counts
from turnout.progress import Watch
from turnout.types import Context, Message

_WORD = re.compile(r"\w+")


class AbleEngine(FakeEngine):
    """Says Yes to sentences that share words with the question, looks at those and at the words themselves, points at
    them, and is less surprised by a question after a text that holds its words. `read` counts the tokens that it was
    given so, `softened` the pieces of which it made soft tokens. `counts` is what it says of its drafts."""

    read = 0
    softened = 0
    counts = Counts(rounds=2, drafted=8, accepted=4)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return {}

    def weigh(
        self, text: str, questions: Sequence[str], answers: Sequence[str], watch: Watch | None = None
    ) -> list[list[float]]:
        self._reads([text, *questions], watch)
        found = []
        for asked in questions:
            question, _, sentence = asked.partition("\n")
            yes = 0.9 if len(_words(question) & _words(sentence)) >= 2 else 0.1
            found.append([yes, 1 - yes])
        return found

    def surprise(self, texts: Sequence[str], continuation: str, watch: Watch | None = None) -> list[float]:
        self._reads([text + continuation for text in texts], watch)
        wanted = _words(continuation)
        return [5.0 - len(wanted & _words(text)) for text in texts]

    def line_surprises(self, text: str, lines: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[float]:
        self._reads([text], watch)
        return [float(len(_words(text[start:end]))) for start, end in lines]

    def attend(
        self, texts: Sequence[str], question: str, layer: int | None = None, watch: Watch | None = None
    ) -> list[list[float]]:
        self._reads([*texts, question], watch)
        wanted = _words(question)
        return [[float(len(wanted & _words(text)))] * self.count_text(text) for text in texts]

    def placed(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = list(_TOKEN.finditer(text))
        return [self._vocabulary.setdefault(token[0], len(self._vocabulary)) for token in found], [
            token.span() for token in found
        ]

    def importance(self, ids: Sequence[int], question: str, watch: Watch | None = None) -> list[float]:
        names = list(self._vocabulary)
        texts = [names[token] for token in ids]
        self._reads([*texts, question], watch)
        wanted = {word[:6] for word in _words(question)}
        return [0.9 if text.strip().lower() in wanted else 0.01 * text.strip().isalnum() for text in texts]

    def can_draft(self) -> bool:
        return True

    def can_soften(self) -> bool:
        return True

    def soft_kind(self) -> SoftKind:
        return SoftKind("mean", 2, 2, "float32", "soft/able")

    def soften(self, pieces: Sequence[Sequence[int]], watch: Watch | None = None) -> list[bytes]:
        """Counts the pieces in `softened`; a soft token is its first token's number twice."""
        self.softened += len(pieces)
        return [
            b"".join(struct.pack("<ff", piece[at], piece[at]) for at in range(0, len(piece), 2)) for piece in pieces
        ]

    def can_read_parallel(self) -> bool:
        return True

    def parallel_kind(self, history: Sequence[Message] = ()) -> ParallelKind:
        said = "/".join(turn.text for turn in history if turn.role == "system")
        return ParallelKind(f"kv/able/{said}", 4)

    def read_parallel(
        self, texts: Sequence[str], history: Sequence[Message] = (), watch: Watch | None = None
    ) -> list[bytes]:
        """The number of each token."""
        self._reads(texts, watch)
        return [struct.pack(f"<{len(ids)}i", *ids) for ids, _ in map(self.placed, texts)]

    def count(self, context: Context) -> int:
        if not isinstance(context, SoftContext):
            return super().count(context)
        return super().count(Context((), context.question, context.history)) + context.soft_tokens

    def drafted(self) -> Counts:
        return self.counts

    def locate(
        self,
        sentences: Sequence[str],
        question: str,
        limit: int,
        longest: int,
        namespace: str | None = None,
        watch: Watch | None = None,
    ) -> list[Stretch]:
        """Each sentence alone, by the words that it shares with the question."""
        self._reads([*sentences, question], watch)
        shared = [len(_words(question) & _words(sentence)) + 0.01 for sentence in sentences]
        best = sorted(range(len(sentences)), key=lambda number: -shared[number])[:limit]
        return [Stretch(number, number + 1, shared[number] / sum(shared)) for number in best]

    def _reads(self, texts: Sequence[str], watch: Watch | None) -> None:
        tokens = sum(map(self.count_text, texts))
        self.read += tokens
        if watch is not None:
            watch.read(tokens)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text) if len(word) > 3} - {"question", "sentence"}

"""A fake engine that can do all that engines may do, and what it says is easy to foretell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from turnout.engines.fake import FakeEngine
from turnout.engines.locating import Stretch
from turnout.steps import Steps
from turnout.types import Prefilled

_WORD = re.compile(r"\w+")


class AbleEngine(FakeEngine):
    """Says Yes to sentences that share words with the question, looks at them, points at them, and is less surprised
    by a question after a text that holds its words. `read` counts the tokens that it was given so."""

    read = 0

    def weigh(self, text: str, questions: Sequence[str], answers: Sequence[str]) -> list[list[float]]:
        self.read += self.count_text(text) + sum(map(self.count_text, questions))
        found = []
        for asked in questions:
            question, _, sentence = asked.partition("\n")
            yes = 0.9 if len(_words(question) & _words(sentence)) >= 2 else 0.1
            found.append([yes, 1 - yes])
        return found

    def surprise(self, texts: Sequence[str], continuation: str) -> list[float]:
        self.read += sum(self.count_text(text) + self.count_text(continuation) for text in texts)
        wanted = _words(continuation)
        return [5.0 - len(wanted & _words(text)) for text in texts]

    def line_surprises(self, text: str, lines: Sequence[tuple[int, int]]) -> list[float]:
        self.read += self.count_text(text)
        return [float(len(_words(text[start:end]))) for start, end in lines]

    def attend(self, texts: Sequence[str], question: str, layer: int | None = None) -> list[list[float]]:
        self.read += sum(map(self.count_text, texts)) + self.count_text(question)
        wanted = _words(question)
        return [[float(len(wanted & _words(text)))] * self.count_text(text) for text in texts]

    def locate(
        self, sentences: Sequence[str], question: str, limit: int, longest: int, namespace: str | None = None
    ) -> Steps[list[Stretch]]:
        """Each sentence alone, by the words that it shares with the question."""
        tokens = sum(map(self.count_text, sentences)) + self.count_text(question)
        self.read += tokens
        yield Prefilled(tokens, tokens)
        shared = [len(_words(question) & _words(sentence)) + 0.01 for sentence in sentences]
        best = sorted(range(len(sentences)), key=lambda number: -shared[number])[:limit]
        return [Stretch(number, number + 1, shared[number] / sum(shared)) for number in best]


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text) if len(word) > 3} - {"question", "sentence"}

"""Documents as sentences, as many at a time as a model reads at once: what retrievers go over that read everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from turnout.documents import Span
from turnout.retrieval.corpus import Corpus
from turnout.sentences import lines, sentences


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, of code a line; `tokens` in the reader's tokenizer, counted alone."""

    span: Span
    text: str
    tokens: int


def read(corpus: Corpus, count: Callable[[str], int]) -> Iterator[Sentence]:
    """All sentences of a corpus in order, but for blank ones."""
    for document in corpus.documents:
        split = lines if document.kind == "code" else sentences
        for start, end in split(document.text):
            text = document.text[start:end]
            if not text.isspace():
                yield Sentence(Span(document.id, start, end), text, count(text))


def windows(read: Iterable[Sentence], tokens: int) -> Iterator[list[Sentence]]:
    """The sentences in order, at most so many tokens at a time, and at least one sentence."""
    window: list[Sentence] = []
    left = tokens
    for sentence in read:
        if window and sentence.tokens > left:
            yield window
            window, left = [], tokens
        window.append(sentence)
        left -= sentence.tokens
    if window:
        yield window

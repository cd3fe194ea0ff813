"""Passages without any cutting beforehand: the reader points at the sentences that it would answer with.

Chunking-free in-context retrieval (CFIC, arXiv 2402.09760), with a model as it is or with an adapter that was trained
for it. Documents over a window are read window by window; what is found in them is then read together, so that it is
compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from turnout.contracts import Locates
from turnout.documents import Passage, Span
from turnout.errors import ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.windows import Sentence, read, windows

if TYPE_CHECKING:
    from turnout.contracts import Retriever

WINDOW_TOKENS = 2048
"""Most of the documents that is read at once, where the model's window has room for it. The paper reads up to 32K."""

SPAN_TOKENS = 256
"""Most tokens of a passage of several sentences; as published."""

SPANS = 5
"""Most passages of a window; the paper has 3."""

PROMPT_TOKENS = 128
"""Room for the chat's own words and for openings. An eighth of what is left beside it stays free too: a sentence after
another may take more tokens than alone."""

SHRINKS = 0.75
"""What is found is read together only where it is at most this share of what was read: the rounds then end soon."""


class ChunkFreeRetriever:
    """Reads everything once; for another question over the same documents what is resident is not read again.

    Args:
        engine: which points at sentences.
        window_tokens, span_tokens, spans: see the constants of this module.

    Raises:
        ConfigurationError: a size under 1.
    """

    name = "chunkfree"

    def __init__(
        self,
        engine: Locates,
        *,
        window_tokens: int = WINDOW_TOKENS,
        span_tokens: int = SPAN_TOKENS,
        spans: int = SPANS,
    ) -> None:
        for name, size in (("window_tokens", window_tokens), ("span_tokens", span_tokens), ("spans", spans)):
            if size < 1:
                raise ConfigurationError(f"{name} is {size}", hint="give 1 or more")
        self._engine = engine
        self._window, self._longest, self._spans = window_tokens, span_tokens, spans

    def warm(self, corpus: Corpus) -> None:
        """Loads the model."""
        self._engine.open()

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages, and at most `spans`, best first, word for word; those that overlap are one.
        Scores are probabilities, see `turnout.engines.locating`.

        Args:
            watch: hears of each window; what is read of the documents is kept for questions of its namespace.

        Raises:
            ConfigurationError: the question is empty.
            EngineError: it leaves no room in the model's window, or a single sentence doesn't fit there; or the model
                foretells no numbers.
            ModelError: the model can't point at sentences.
            Cancelled: the watch said so after a step.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask for something")
        watch, room = watch or Watch(), self._room(question)
        sentences = list(read(corpus, self._engine.count_text))
        total, at = _tokens(sentences), 0
        most = min(max(limit, 0), self._spans)
        scores: dict[Span, float] = {}
        while sentences and most:
            together = list(windows(sentences, room))
            found: set[Sentence] = set()
            scores = {}
            for window in together:
                texts = [each.text for each in window]
                for stretch in self._engine.locate(texts, question, most, self._longest, watch.namespace, watch):
                    run = _run(window[stretch.first : stretch.end])
                    found.update(run)
                    scores[Span(run[0].span.document_id, run[0].span.start, run[-1].span.end)] = stretch.score
                at = min(at + _tokens(window), total)
                watch.progress("reading", at, total)
            left = [sentence for sentence in sentences if sentence in found]
            if len(together) == 1 or _tokens(left) > SHRINKS * _tokens(sentences):
                break
            sentences = left
        return _apart(scores, corpus)[:most]

    def _room(self, question: str) -> int:
        """Tokens of sentences that are read at once."""
        window, asked = self._engine.model.window, self._engine.count_text(question)
        room = (window - asked - PROMPT_TOKENS - self._longest) * 7 // 8
        if room < 1:
            raise EngineError(
                f"a question of {asked:,} tokens leaves no room for documents in the window of {window:,}",
                hint="ask a shorter question, or use a model with a larger window",
            )
        return min(room, self._window)


def _run(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Up to where the next one does not follow in its document."""
    run = list(sentences[:1])
    for before, after in pairwise(sentences):
        if before.span.document_id != after.span.document_id or before.span.end != after.span.start:
            break
        run.append(after)
    return run


def _apart(scores: Mapping[Span, float], corpus: Corpus) -> list[Passage]:
    """Passages, best first; those that overlap are one, with the better score."""
    passages: list[Passage] = []
    for span in sorted(scores, key=corpus.position):
        score, last = scores[span], passages[-1] if passages else None
        if last is not None and last.span.document_id == span.document_id and span.start < last.span.end:
            span = Span(span.document_id, last.span.start, max(last.span.end, span.end))
            score = max(score, passages.pop().score)
        passages.append(Passage(span, corpus.text(span), score))
    return sorted(passages, key=lambda passage: -passage.score)


def _tokens(sentences: Sequence[Sentence]) -> int:
    return sum(sentence.tokens for sentence in sentences)


if TYPE_CHECKING:
    _: type[Retriever] = ChunkFreeRetriever

"""Sentences that the reader itself looks at: it slides over the documents and remembers what the question attends to.

InfiniRetri (arXiv 2502.12962), from its description: each step reads the sentences kept so far, the next window of the
documents and the question, and keeps the sentences that hold the tokens with most attention. Time grows with the
length of the documents, memory does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.contracts import Attends
from turnout.documents import Passage, Span
from turnout.errors import ConfigurationError, EngineError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import joined
from turnout.retrieval.windows import Sentence, read, windows

if TYPE_CHECKING:
    from turnout.contracts import Retriever

WINDOW_TOKENS = 1024
"""Of the documents, new in each step; as published."""

TOP_TOKENS = 300
"""Tokens whose sentences are kept; as published."""

KEPT_TOKENS = 1024
"""Most tokens of kept sentences. Published without such a limit, under which long sentences fill the window."""

PHRASE_TOKENS = 8
"""Width over which attention is averaged, so that a phrase counts and not a single token; as published."""


class AttentionRetriever:
    """Reads everything once for each question, with what it has kept so far.

    Args:
        engine: whose attention decides.
        layer: from 0; the one in the middle by default, which is the best of SmolLM2-135M's
            (benchmarks/results/attention_layers_smollm2-135m.json). The last layers say less: they prepare the next
            token.
        window_tokens, top_tokens, kept_tokens, phrase_tokens: see the constants of this module.

    Raises:
        ConfigurationError: a size under 1.
    """

    name = "attention"

    def __init__(
        self,
        engine: Attends,
        *,
        layer: int | None = None,
        window_tokens: int = WINDOW_TOKENS,
        top_tokens: int = TOP_TOKENS,
        kept_tokens: int = KEPT_TOKENS,
        phrase_tokens: int = PHRASE_TOKENS,
    ) -> None:
        sizes = {"window": window_tokens, "top": top_tokens, "kept": kept_tokens, "phrase": phrase_tokens}
        for name, size in sizes.items():
            if size < 1:
                raise ConfigurationError(f"{name}_tokens is {size}", hint="give 1 or more")
        self._engine = engine
        self._layer = layer
        self._window, self._top, self._kept, self._phrase = sizes.values()

    def warm(self, corpus: Corpus) -> None:
        """Loads the model."""
        self._engine.open()

    def retrieve(self, question: str, corpus: Corpus, limit: int, watch: Watch | None = None) -> list[Passage]:
        """At most `limit` passages, best first: neighbouring sentences are one, scored by its strongest token. The
        watch hears of each window.

        Raises:
            ConfigurationError: the question is empty.
            EngineError: question and window don't fit the model's window, or its attention is no number.
            ModelError: the model can't show its attention.
            Cancelled: the watch said so after a step.
        """
        if not question.strip():
            raise ConfigurationError("the question is empty", hint="ask for something")
        watch = watch or Watch()
        kept: list[Sentence] = []
        scores: dict[Span, float] = {}
        sentences = list(read(corpus, self._engine.count_text))
        total, at = sum(sentence.tokens for sentence in sentences), 0
        for window in windows(sentences, self._window):
            seen = [*kept, *window]
            found = self._engine.attend([each.text for each in seen], question, self._layer, watch)
            kept, scores = self._strongest(seen, found)
            at += sum(sentence.tokens for sentence in window)
            watch.progress("reading", at, total)
        return _passages(scores, corpus)[: max(limit, 0)]

    def _strongest(
        self, seen: Sequence[Sentence], found: Sequence[Sequence[float]]
    ) -> tuple[list[Sentence], dict[Span, float]]:
        """What is kept of the sentences, in order, with the attention of each one's strongest token."""
        ends = np.cumsum([len(weights) for weights in found])
        smooth = smoothed(np.array([weight for weights in found for weight in weights]), self._phrase)
        best: dict[int, float] = {}
        tokens = 0
        for at in np.argsort(-smooth, kind="stable")[: self._top]:
            number = int(np.searchsorted(ends, at, side="right"))
            if smooth[at] <= 0 or number in best:
                continue
            if best and tokens + seen[number].tokens > self._kept:
                continue
            tokens += seen[number].tokens
            best[number] = float(smooth[at])
        kept = [seen[number] for number in sorted(best)]
        return kept, {seen[number].span: score for number, score in best.items()}


def smoothed(weights: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean over `width` tokens around each; what lies outside counts as 0.

    Raises:
        EngineError: a weight is no number.
    """
    if not np.isfinite(weights).all():
        raise EngineError("the model's attention is no number", hint="try --device cpu, or another model")
    reach = np.concatenate([[0.0], np.cumsum(weights)])
    at = np.arange(len(weights))
    first = np.maximum(at - width // 2, 0)
    last = np.minimum(at - width // 2 + width, len(weights))
    smooth: NDArray[np.float64] = (reach[last] - reach[first]) / width
    return smooth


def _passages(scores: dict[Span, float], corpus: Corpus) -> list[Passage]:
    sentences = [Passage(span, corpus.text(span), score) for span, score in scores.items()]
    passages = [
        Passage(part.span, part.text, max(score for span, score in scores.items() if _inside(span, part.span)))
        for part in joined(sentences, corpus)
    ]
    return sorted(passages, key=lambda passage: -passage.score)


def _inside(inner: Span, outer: Span) -> bool:
    return inner.document_id == outer.document_id and outer.start <= inner.start and inner.end <= outer.end


if TYPE_CHECKING:
    _: type[Retriever] = AttentionRetriever

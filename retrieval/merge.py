"""From ranked passages to what is read: as many as fit, in document order, neighbours joined."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from turnout.documents import Passage, Span
from turnout.retrieval.corpus import Corpus
from turnout.types import Part


def in_document_order(
    passages: Sequence[Passage], corpus: Corpus, fits: Callable[[list[Part]], bool]
) -> tuple[Part, ...]:
    """The best passages that fit together, as parts in document order (OP-RAG, arXiv 2409.01666).

    Args:
        passages: best first.
        corpus: where they come from.
        fits: whether parts are inside the caller's budget; once false, it is taken to stay false for more passages.
            It is asked about log2(len(passages)) times.

    Returns:
        Parts of which none touches another; none at all where not even the best passage fits.
    """
    counts = range(1, len(passages) + 1)
    most = bisect_left(counts, True, key=lambda count: not fits(joined(passages[:count], corpus)))
    return tuple(joined(passages[:most], corpus))


def whole(corpus: Corpus) -> tuple[Part, ...]:
    """Every document as one part, in the caller's order."""
    return tuple(
        Part(document.text, Span(document.id, 0, len(document.text)), document.title) for document in corpus.documents
    )


def joined(passages: Sequence[Passage], corpus: Corpus) -> list[Part]:
    """Parts in document order; spans of one document that overlap or touch, white space apart, become one part."""
    spans: list[Span] = []
    for span in sorted((passage.span for passage in passages), key=corpus.position):
        last = spans[-1] if spans else None
        if last is not None and last.document_id == span.document_id and _touch(last, span, corpus):
            spans[-1] = Span(last.document_id, last.start, max(last.end, span.end))
        else:
            spans.append(span)
    return [Part(corpus.text(span), span, corpus.document(span.document_id).title) for span in spans]


def _touch(first: Span, second: Span, corpus: Corpus) -> bool:
    return second.start <= first.end or corpus.text(Span(first.document_id, first.end, second.start)).isspace()

"""What a model wrote, compared with what it read: an answer with citations, or an abstention."""

from __future__ import annotations

from dataclasses import dataclass, replace

from turnout.engines.prompt import REFUSAL
from turnout.engines.soft.kind import SoftContext
from turnout.retrieval.corpus import Corpus
from turnout.router import citations
from turnout.router.check import is_answer, is_refusal
from turnout.types import Citation, Context, Part, Question

FRAGMENTS = "pieces of sentences were read; what is cited are the sentences of the source that they stand in"

SOFTENED = "the documents were read as soft tokens; what is cited are the sentences of the source that match the answer"


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of the model's text: the answer with its citations, or an abstention with the nearest passage;
    `refused` where the model itself said so."""

    text: str
    abstained: bool
    refused: bool = False
    citations: tuple[Citation, ...] = ()
    nearest: Citation | None = None
    notes: tuple[str, ...] = ()


def compare(
    raw: str, question: Question, context: Context, corpus: Corpus, *, numbered: bool, quotable: bool
) -> Checked:
    """Args: quotable: of what was read no sentence was cut; else citations are of the source's sentences."""
    found, quotes = _compared(raw, question, context, corpus, numbered=numbered)
    if isinstance(context, SoftContext):
        return replace(found, notes=(SOFTENED,))
    if quotable or all(_is_whole(part, corpus) for part in context.parts):
        return found
    said = {quote.text for quote in quotes}  # what the model quoted itself is shown as it said it
    widened = tuple(
        cited if cited.quote in said else citations.in_whole_sentences(cited, corpus.documents)
        for cited in found.citations
    )
    nearest = found.nearest and citations.in_whole_sentences(found.nearest, corpus.documents)
    # Pieces of one sentence are one citation then.
    return replace(found, citations=tuple(dict.fromkeys(widened)), nearest=nearest, notes=(FRAGMENTS,))


def _is_whole(part: Part, corpus: Corpus) -> bool:
    return part.span.start == 0 and part.span.end == len(corpus.document(part.span.document_id).text)


def _compared(
    raw: str, question: Question, context: Context, corpus: Corpus, *, numbered: bool
) -> tuple[Checked, tuple[citations.Quote, ...]]:
    text, quotes = citations.split_quotes(raw)
    own = citations.own_citations(quotes, context, corpus.documents, numbered=numbered)
    if is_answer(text, question, context.parts, (citation.quote for citation in own if citation.found)):
        cited = citations.with_match(own, text, question.text, context, corpus.documents)
        return Checked(text, False, citations=cited), quotes
    refused = bool(text.strip()) and is_refusal(text)
    near = citations.nearest_sentence(question.standalone, context.parts)
    if near is None:
        return Checked(REFUSAL, True, refused), quotes
    part, start, end = near
    document = corpus.document(part.span.document_id)
    nearest = citations.citation_at(document, part.span.start + start, part.span.start + end, "matched")
    return Checked(REFUSAL, True, refused, nearest=nearest), quotes

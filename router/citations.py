"""Quotes and where they stand: parsing them out of an answer, locating them in the source, matching what has none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from turnout.documents import Document, Span
from turnout.router.words import content_words
from turnout.sentences import LONGEST_BYTES, units
from turnout.types import Citation, Context, Part

MIN_QUOTE = 12
"""Characters below which a quote could stand anywhere and proves nothing."""

EVIDENCE_LABEL = "Evidence: "
"""What a trained reader writes before the number of the sentence that its answer rests on, or before its words."""

_NUMBER = re.compile(r"\[(\d{1,9})\]")
_NUMBERS = re.compile(r"[\s*]*(?:\[\d{1,9}\](?:[\s*,;.:&]|and\b)*)+")
_LABEL = re.compile(r"^[\s*>-]*(quotes?|evidence)[\s*]*:[\s*]*(.*)$", re.IGNORECASE)
_LABELS = ("quote", "quotes", "evidence")
_QUOTED = re.compile(r'["“«]([^"“”«»\n]{2,}?)["”»]')
_LIGATURES = {"fi": "ﬁ", "fl": "ﬂ", "ff": "ﬀ", "ffi": "ﬃ", "ffl": "ﬄ"}


@dataclass(frozen=True, slots=True)
class Quote:
    """What an answer gives as the text's: words, or the number of a sentence in the prompt, from 1."""

    text: str
    number: int | None = None


def split_quotes(text: str) -> tuple[str, tuple[Quote, ...]]:
    """(answer, quotes in order): quotes from `Quote: "..."` and `Evidence: ...` lines and from inside the answer's
    sentences.

    The answer is the text without its quote lines; where nothing else was said, what follows the numbers of an
    evidence line, or the first quote's words.
    """
    lines, values = _split_lines(text.splitlines())
    read = [_quotes(label, value) for label, value in values]
    quotes = [quote for found, _ in read for quote in found]
    answer = "\n".join(lines).strip() or next((rest for _, rest in read if rest), "")
    quotes.extend(Quote(quote.strip()) for quote in _QUOTED.findall(answer) if len(quote) >= MIN_QUOTE)
    unique = tuple(dict.fromkeys(quote for quote in quotes if quote.text))
    words = next((quote.text for quote in unique if quote.number is None), "")
    return answer or words, unique


def _quotes(label: str, value: str) -> tuple[list[Quote], str]:
    """The quotes of a labelled line, and what follows the numbers that evidence begins with. Evidence without numbers
    is one quote, which may have marks of its own."""
    if label == "evidence" and (numbers := _NUMBERS.match(value)):
        rest = value[numbers.end() :].strip(" *")
        return [Quote(f"[{number}]", int(number)) for number in _NUMBER.findall(numbers[0])], rest
    marked = _QUOTED.findall(value)
    if label == "evidence" and not (len(marked) == 1 and len(marked[0]) + 2 >= len(value.strip())):
        return [Quote(value.strip(" *"))], ""
    return [Quote(quote.strip()) for quote in marked] or [Quote(value.strip(" \"“”«»'*"))], ""


def growing_answer(text: str) -> str:
    """The part of an unfinished answer that is sure to stay: without quote lines, and without a last line that may
    still become one. Each result begins with the one before it."""
    lines = text.splitlines()
    if lines and not text.endswith("\n"):
        start = lines[-1].strip(" \t*>-").lower()
        if any(label.startswith(start) or start.startswith(label) for label in _LABELS):
            del lines[-1]
    return "\n".join(_split_lines(lines)[0]).strip()


def _split_lines(lines: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(lines of the answer, labels with values of quote lines); a label alone on its line takes the next line as its
    value."""
    kept: list[str] = []
    values: list[tuple[str, str]] = []
    expected = ""
    for line in lines:
        match = _LABEL.match(line)
        if match:
            label = match[1].lower()
            expected = "" if match[2].strip() else label
            values.extend([(label, match[2])] if match[2].strip() else [])
        elif expected and line.strip():
            values.append((expected, line))
            expected = ""
        else:
            kept.append(line)
    return kept, values


def locate(quote: str, text: str) -> tuple[str, int, int] | None:
    """(how, start, end) of a quote in a text: "exact", or "normalised:<which>" after exactly one normalisation.

    Quotes under MIN_QUOTE characters are not looked for. A quote stitched from two places stands nowhere.
    """
    if len(quote) < MIN_QUOTE:
        return None
    start = text.find(quote)
    if start >= 0:
        return "exact", start, start + len(quote)
    for name, pattern_of in _NORMALISATIONS.items():
        match = re.search(pattern_of(quote), text)
        if match:
            return f"normalised:{name}", match.start(), match.end()
    return None


def _whitespace(quote: str) -> str:
    return r"\s+".join(re.escape(word) for word in quote.split())


def _hyphen(quote: str) -> str:
    # A word broken at a line end: "termi-\nnation" stands for "termination".
    break_ = r"(?:[-\u00ad]\s*\n\s*|\u00ad)?"
    return r"\s+".join(break_.join(re.escape(letter) for letter in word) for word in quote.split())


def _ligature(quote: str) -> str:
    plain = quote
    for letters, sign in _LIGATURES.items():
        plain = plain.replace(sign, letters)
    either = re.compile("ffi|ffl|ff|fi|fl")
    return either.sub(lambda found: f"(?:{found[0]}|{_LIGATURES[found[0]]})", _whitespace(plain))


def _marks(quote: str) -> str:
    signs = {"'": "['‘’]", "‘": "['‘’]", "’": "['‘’]", '"': '["“”]', "“": '["“”]', "”": '["“”]'}
    signs |= dict.fromkeys("-–—", "[-–—]")
    return r"\s+".join("".join(signs.get(letter, re.escape(letter)) for letter in word) for word in quote.split())


_NORMALISATIONS: dict[str, Callable[[str], str]] = {
    "whitespace": _whitespace,
    "hyphen": _hyphen,
    "ligature": _ligature,
    "marks": _marks,
}


def own_citations(
    quotes: Sequence[Quote], context: Context, documents: Sequence[Document], *, numbered: bool
) -> tuple[Citation, ...]:
    """An answer's own quotes, located or flagged.

    What was read is searched before the rest of the documents, so that a quote that occurs twice is cited where the
    model saw it. A quote from a document that was not asked about is not found.

    Args:
        numbered: the prompt had numbers before its sentences; without, a number names nothing.
    """
    by_id = {document.id: document for document in documents}
    sentences = list(_sentences(context.parts)) if numbered else []
    return tuple(
        _cite_quote(quote, context.parts, documents)
        if quote.number is None
        else _cite_number(quote.number, sentences, by_id)
        for quote in quotes
    )


def with_match(
    cited: tuple[Citation, ...], answer: str, question: str, context: Context, documents: Sequence[Document]
) -> tuple[Citation, ...]:
    """An answer's citations: where it brought none that was found, with the sentence that bears it best."""
    matched = None
    if not any(citation.found for citation in cited):
        matched = best_sentence(answer, question, context.parts)
    if matched is None:
        return cited
    part, start, end = matched
    document = next(document for document in documents if document.id == part.span.document_id)
    return (*cited, citation_at(document, part.span.start + start, part.span.start + end, "matched"))


def _cite_quote(quote: Quote, parts: Sequence[Part], documents: Sequence[Document]) -> Citation:
    by_id = {document.id: document for document in documents}
    whole = (Part(d.text, Span(d.id, 0, len(d.text)), d.title) for d in documents)
    for part in chain(parts, whole):
        found = locate(quote.text, part.text)
        if not found:
            continue
        how, start, end = found
        document, shift = by_id[part.span.document_id], part.span.start
        return citation_at(document, shift + start, shift + end, "quoted", quote.text, how)
    return Citation(document=None, quote=quote.text, found=None)


def _cite_number(number: int, sentences: Sequence[tuple[Part, int, int]], by_id: Mapping[str, Document]) -> Citation:
    if not 1 <= number <= len(sentences):
        return Citation(document=None, quote=f"[{number}]", found=None)
    part, start, end = sentences[number - 1]
    return citation_at(by_id[part.span.document_id], part.span.start + start, part.span.start + end, "quoted")


def citation_at(
    document: Document,
    start: int,
    end: int,
    origin: Literal["quoted", "matched", "attended"],
    quote: str | None = None,
    found: str = "exact",
) -> Citation:
    """The citation of characters [start, end) of a document."""
    place = document.place(start)
    return Citation(
        document=document.info(),
        quote=document.text[start:end] if quote is None else quote,
        found=found,
        start=start,
        end=end,
        page=place.page,
        line=place.line,
        place=place.label,
        origin=origin,
    )


def in_whole_sentences(cited: Citation, documents: Sequence[Document]) -> Citation:
    """A citation of a piece of a sentence, as that of all sentences of the source that it touches."""
    document = next((each for each in documents if cited.document and each.id == cited.document.id), None)
    if document is None or cited.start is None or cited.end is None:
        return cited
    first = max(cited.start - LONGEST_BYTES, 0)
    held = [
        (first + start, first + end)
        for start, end in units(document.text[first : cited.end + LONGEST_BYTES])
        if first + start < cited.end and first + end > cited.start
    ]
    if not held:
        return cited
    return citation_at(document, min(held[0][0], cited.start), max(held[-1][1], cited.end), cited.origin)


def best_sentence(answer: str, question: str, parts: Sequence[Part]) -> tuple[Part, int, int] | None:
    """The sentence that holds most of the answer's content words, then most of the question's, then the shortest.

    None where no sentence holds at least half of the answer's: then nothing that was read bears it.
    """
    wanted, asked = content_words(answer), content_words(question)
    new = wanted - asked or wanted
    if not new:
        return None
    best: tuple[tuple[float, float, int], Part, int, int] | None = None
    for part, start, end in _sentences(parts):
        words = content_words(part.text[start:end])
        held = len(new & words) / len(new)
        if held < 0.5:
            continue
        score = (held, len(asked & words) / (len(asked) or 1), start - end)
        if best is None or score > best[0]:
            best = (score, part, start, end)
    return best[1:] if best else None


def nearest_sentence(question: str, parts: Sequence[Part]) -> tuple[Part, int, int] | None:
    """The sentence that shares most content words with the question: what an abstention shows, not an answer.

    None where no sentence shares any.
    """
    asked = content_words(question)
    best: tuple[int, Part, int, int] | None = None
    for part, start, end in _sentences(parts):
        shared = len(asked & content_words(part.text[start:end]))
        if shared > (best[0] if best else 0):
            best = (shared, part, start, end)
    return best[1:] if best else None


def _sentences(parts: Sequence[Part]) -> Iterator[tuple[Part, int, int]]:
    """(part, start, end) of each sentence, in the order of their numbers (`turnout.engines.prompt`)."""
    for part in parts:
        for start, end in units(part.text):
            yield part, start, end

"""Synthetic documents: facts planted in running filler, of a given size in the reader's tokens, with their trials."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from turnout.errors import ConfigurationError
from turnout.router.calibration.filler import Count, Filler
from turnout.router.calibration.tasks import (
    GROUPS,
    KEYWORDS,
    NUMBERS,
    PHRASINGS,
    ROWS,
    Fact,
    Facts,
    Kind,
    Needle,
    Phrasing,
    ask,
    draw_facts,
)

MOST_QUESTIONS = GROUPS * len(PHRASINGS)
"""Questions of one kind that a document has room for: each group of facts in both phrasings."""

SMALLEST = 256
"""Tokens below which the facts would crowd the filler out."""

_CUTS, _NEAR = 12, 0.985
"""How often a document is cut anew, and the share of its size that is near enough."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One question on one document; see `tasks.Asked` for the key.

    Attributes:
        depth: where its facts stand on average, 0 the document's start and 1 its end.
    """

    question: str
    kind: Kind
    phrasing: Phrasing
    expected: tuple[str, ...]
    beside: tuple[str, ...]
    depth: float
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyntheticDocument:
    """A document with its trials. `tokens` is its true size; `facts` are all planted sentences in document order."""

    seed: int
    index: int
    size: int
    tokens: int
    text: str
    facts: tuple[str, ...]
    trials: tuple[Trial, ...]


def filler_of(texts: Sequence[str]) -> Filler:
    """Filler without any buyer, good or number that a fact, a question or an answer could hold."""
    return Filler(texts, KEYWORDS, NUMBERS)


def make_document(
    filler: Filler, count: Count, *, size: int, seed: int, index: int, kinds: Sequence[Kind], questions: int
) -> SyntheticDocument:
    """A document of `size` tokens, at most 2% less, with `questions` trials of each kind.

    Seed and index alone choose facts, questions, their order and how deep the facts stand, as near as the sentences
    allow; size chooses the filler. So documents of one seed and index differ over sizes in what stands around the facts
    alone, and results can be compared in pairs. Trials depend besides on their own kind, so leaving a kind out changes
    nothing in the others. Phrasings alternate, also from document to document.

    Raises:
        ConfigurationError: the size has no room for the facts, the filler is too short, or too many questions.
    """
    if not 1 <= questions <= MOST_QUESTIONS:
        raise ConfigurationError(
            f"{questions} questions of each kind on one document",
            hint=f"a document has room for 1 to {MOST_QUESTIONS}; take more documents instead",
        )
    source = _random(seed, index)
    facts = draw_facts(source)
    planted = _spread(facts, source)
    places = [(i + source.random()) / len(planted) for i in range(len(planted))]
    text, tokens = _fill([fact.text for fact in planted], places, filler, count, size, _random(seed, index, size))
    trials = [
        trial for kind in kinds for trial in _trials(kind, text, facts, index, questions, _random(seed, index, kind))
    ]
    return SyntheticDocument(seed, index, size, tokens, text, tuple(fact.text for fact in planted), tuple(trials))


def _random(*key: object) -> random.Random:
    return random.Random("/".join(map(str, key)))  # noqa: S311 - repeatable draws, no secrets


def _spread(facts: Facts, source: random.Random) -> list[Fact | Needle]:
    """Document order: each group has one fact in each third, so its first and last stand far apart; needles stand
    anywhere."""
    planted: list[Fact | Needle] = []
    for row in range(ROWS):
        planted += source.sample([group[row] for group in facts.groups], GROUPS)
    for needle in facts.needles:
        planted.insert(source.randint(0, len(planted)), needle)
    return planted


def _trials(kind: Kind, text: str, facts: Facts, index: int, questions: int, source: random.Random) -> list[Trial]:
    order = source.sample(range(GROUPS), GROUPS)
    trials = []
    for number in range(questions):
        # The second time round, a group is asked in the other phrasing.
        phrasing: Phrasing = PHRASINGS[(index + number + number // GROUPS) % len(PHRASINGS)]
        asked = ask(kind, phrasing, facts, order[number % GROUPS], source)
        texts = tuple(fact.text for fact in asked.facts)
        depth = sum(map(text.index, texts)) / len(texts) / len(text)
        trials.append(Trial(asked.question, kind, phrasing, asked.expected, asked.beside, round(depth, 3), texts))
    return trials


def _fill(
    facts: list[str], places: list[float], filler: Filler, count: Count, size: int, source: random.Random
) -> tuple[str, int]:
    """The facts in running filler, each at its place, as a share of the document: (text, tokens)."""
    room = size - count(" ".join(facts))
    if room < size // 4:
        raise ConfigurationError(
            f"a document of {size:,} tokens has no room for {len(facts)} facts and text around them",
            hint="give larger --sizes",
        )
    drawn = filler.draw(source, count, room)
    lengths = [count(sentence) for sentence in drawn]
    # A whole has not the sum of its parts' tokens, so the filler is cut again until the whole has the size.
    best, target = ("", 0), room
    for attempt in range(_CUTS):
        text = _assemble(_cut(drawn, lengths, target, count, in_words=attempt >= _CUTS // 2), facts, places)
        tokens = count(text)
        if best[1] < tokens <= size:
            best = (text, tokens)
        if best[1] >= _NEAR * size:
            break
        target += int((1 + _NEAR) / 2 * size) - tokens
    if best[1] < 0.98 * size:
        raise ConfigurationError(
            f"no document of {size:,} tokens can be cut from the filler: the nearest has {best[1]:,}",
            hint="give longer texts with --texts",
        )
    return best


def _cut(drawn: list[str], lengths: list[int], tokens: int, count: Count, *, in_words: bool) -> list[str]:
    """The first sentences, the last one cut between words, or `in_words` too, of at most about `tokens` tokens."""
    kept: list[str] = []
    for sentence, length in zip(drawn, lengths, strict=True):
        if length > tokens:
            cut = ""
            for piece in re.findall(r"\s*\S" if in_words else r"\s*\S+", sentence):
                if count(cut + piece) > tokens:
                    break
                cut += piece
            return [*kept, cut] if cut else kept
        kept.append(sentence)
        tokens -= length
    return kept


def _assemble(sentences: list[str], facts: list[str], places: list[float]) -> str:
    """Each fact follows the sentence at its place, before that sentence's line break; none the last, which was cut."""
    after = [int(place * max(len(sentences) - 1, 1)) for place in places]
    parts = []
    for i, sentence in enumerate(sentences):
        body = sentence.rstrip()
        planted = [fact for fact, at in zip(facts, after, strict=True) if at == i]
        parts.append(" ".join([body, *planted]) + (sentence[len(body) :] or " "))
    return "".join(parts).strip()

"""Lessons of an adapter that points at sentences: a question over a text, and the sentences that hold the answer.

What is asked, and how an answer's tokens follow each other, is what decoding makes of it (`turnout.engines.locating`):
the sentences of one stretch as they stand in the text, and then the end. The loss is that of all these tokens, as in
the paper (CFIC, arXiv 2402.09760): the first ones tell which sentence it is, the end where the stretch is over.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from turnout.documents import Document
from turnout.engines import locating
from turnout.engines.tokenizer import ChatTokenizer
from turnout.errors import ConfigurationError
from turnout.retrieval.chunkfree import SPAN_TOKENS, WINDOW_TOKENS
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.segment import estimate_tokens
from turnout.retrieval.windows import read
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.recipe import draws
from turnout.training.surroundings import Pool, excerpt, pools
from turnout.training.tokens import Pair

TOGETHER = 8
"""Most questions that are asked over one reading of a text."""

Run = tuple[int, int]
"""Sentences [first, end) that follow each other."""


@dataclass(frozen=True, slots=True)
class ChunkFreeRecipe:
    """What the adapter is trained with. The paper trains all weights of a 7B model; LoRA and its sizes are ours.

    Attributes:
        examples: questions at most; None takes all.
        document_tokens: least and most of a text that a passage is joined with others to, estimated; as many short
            ones as long ones, on a log scale.
        max_tokens: longest prompt with its answer.
        rank, alpha, dropout: of the LoRA weights.
        batch_tokens: tokens a step, padding included.
        learning_rate: at its highest, after `warmup` of the steps; then down to nothing along a cosine.
        steps: at most; None goes through all questions once.
        without: datasets left out, for their licence or otherwise.
    """

    examples: int | None = None
    document_tokens: tuple[int, int] = (150, WINDOW_TOKENS)
    max_tokens: int = 2560
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    batch_tokens: int = 8192
    learning_rate: float = 5e-4
    warmup: float = 0.03
    steps: int | None = None
    seed: int = 1
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.document_tokens[0] <= self.document_tokens[1]:
            raise ConfigurationError(f"texts of {self.document_tokens} tokens", hint="give least and most")
        for name in ("max_tokens", "rank", "alpha", "batch_tokens", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, not above 0")
        if self.batch_tokens < self.max_tokens:
            raise ConfigurationError(
                f"batch_tokens ({self.batch_tokens}) is below max_tokens ({self.max_tokens})",
                hint="one example must fit into a batch",
            )


@dataclass(frozen=True, slots=True)
class Lesson:
    """A question over a text; `runs` are its sentences that hold the answer."""

    example: Example
    sentences: tuple[str, ...]
    runs: tuple[Run, ...]


def sheets(
    data: TrainingData, fold: str, recipe: ChunkFreeRecipe, *, together: int = TOGETHER
) -> Iterator[list[Lesson]]:
    """The questions of a fold whose evidence is known, those over one text together; the same each time.

    A question that names its passage is asked where that stands among others of its dataset that don't answer it, half
    of them like the question; any other one over its passage alone. Of a passage that is too long there are the
    sentences around the evidence.
    """
    usable = [each for each in data.examples if each.fold == fold and each.evidence and each.answers]
    around = pools(data.passages, usable, estimate_tokens)
    of: defaultdict[str, list[Example]] = defaultdict(list)
    for example in usable:
        of[example.passage].append(example)
    order = list(of)
    draws("chunkfree", recipe.seed, fold).shuffle(order)
    for passage in order:
        pool, whole = around[of[passage][0].dataset], data.passages[passage]
        draw = draws("chunkfree", recipe.seed, passage)
        left = draw.sample(of[passage], len(of[passage]))
        while left:
            lead, *others = left
            gold = excerpt(whole, lead.evidence, recipe.document_tokens[1], estimate_tokens, draw)
            beside = _beside(lead, gold, pool, recipe, draw)
            fitting = [each for each in others if gold is whole and _fits(each, gold, pool, beside)]
            asked = [lead, *fitting[: together - 1]]
            left = [each for each in others if each not in asked]
            yield list(_lessons(asked, gold, beside, draw))


def tokenised(
    sheets: Iterator[list[Lesson]],
    tokenizer: ChatTokenizer,
    end: int,
    recipe: ChunkFreeRecipe,
    limit: int | None,
    told: Callable[[int], None],
) -> tuple[list[list[Pair]], Mapping[str, int]]:
    """The pairs of each sheet, and how many questions of each dataset there are, at most `limit`; what is too long, for
    a prompt or for a stretch, is left out.

    Args:
        end: token that ends an answer.
        told: hears how many there are.
    """
    made: list[list[Pair]] = []
    counts: Counter[str] = Counter()
    for sheet in sheets:
        pairs: list[Pair] = []
        for lesson in islice(sheet, None if limit is None else limit - counts.total()):
            found = list(pairs_of(lesson, tokenizer, end, recipe.max_tokens))
            counts[lesson.example.dataset] += bool(found)
            pairs += found
        made.append(pairs)
        told(counts.total())
        if limit is not None and counts.total() >= limit:
            break
    return made, +counts


def pairs_of(lesson: Lesson, tokenizer: ChatTokenizer, end: int, most: int) -> Iterator[Pair]:
    """A prompt and an answer for each stretch of a lesson's evidence that is short enough to be pointed at."""
    asked = locating.asked(tokenizer, lesson.sentences, lesson.example.question)
    for first, last in lesson.runs:
        answer = [*asked.alone[first], *(token for after in asked.after[first + 1 : last] for token in after)]
        if answer and len(answer) <= SPAN_TOKENS and len(asked.ids) + len(answer) < most:
            yield asked.ids, [*answer, end]


def _beside(example: Example, gold: Passage, pool: Pool, recipe: ChunkFreeRecipe, draw: random.Random) -> list[Passage]:
    if not pool.names_its_passage(example):
        return []
    low, high = map(math.log, recipe.document_tokens)
    tokens = round(math.exp(draw.uniform(low, high)))
    return pool.around(example, gold, tokens - estimate_tokens(gold.text), draw)


def _fits(example: Example, gold: Passage, pool: Pool, beside: Sequence[Passage]) -> bool:
    """Whether a question can be asked over its passage among those as well."""
    if not beside:
        return True
    return pool.names_its_passage(example) and not any(pool.may_answer(each, example, gold) for each in beside)


def _lessons(
    asked: Sequence[Example], gold: Passage, beside: Sequence[Passage], draw: random.Random
) -> Iterator[Lesson]:
    place = draw.randrange(len(beside) + 1)
    texts = [each.text for each in beside]
    texts.insert(place, gold.text)
    text = "\n\n".join(texts)
    begin = sum(len(each) + 2 for each in texts[:place])
    found = list(read(Corpus([Document("joined", "joined", text, "", "text")], []), estimate_tokens))
    for example in asked:
        held = [gold.sentences[number] for number in gold.inside(example.evidence)]
        numbers = [
            number
            for number, each in enumerate(found)
            if any(begin + start < each.span.end and each.span.start < begin + end for start, end in held)
        ]
        yield Lesson(example, tuple(each.text for each in found), tuple(_runs(numbers)))


def _runs(numbers: Sequence[int]) -> Iterator[Run]:
    """Those that follow each other, together; `numbers` are in order."""
    first = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[first], numbers[at - 1] + 1
            first = at

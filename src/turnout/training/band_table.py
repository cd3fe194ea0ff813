"""What LDAR's policy learns from: how likely the reader gives the right answer after each band of a ranking.

The paper asks the reader anew for every band that the policy tries (arXiv 2509.21865). What it is rewarded for depends
on nothing but the passages that are read, so the reader is asked once for each band of a small grid, and the policy is
then fitted to that table. The reward is the likelihood of the answer and not a judge's yes or no: it tells more, and
asks no second model. Questions without an answer in the text are left out: they would teach to read as little as
possible.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from turnout.contracts import Embedder, Engine, Foretells
from turnout.documents import Document, Passage
from turnout.errors import ConfigurationError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import joined
from turnout.retrieval.segment import estimate_tokens, segment
from turnout.retrieval.vectors import checked, of_question
from turnout.router.questions import task_of
from turnout.training.data import Example
from turnout.training.data import Passage as Text
from turnout.training.reader_examples import preferred
from turnout.training.recipe import draws
from turnout.training.surroundings import Pool
from turnout.types import Context

MOST_BANDS = 16

TABLE = ("examples", "document_tokens", "skips", "sizes", "max_tokens", "seed", "without")

Places = tuple[int, int]
"""A band of a ranking: its first place, from 0, and how many."""


@dataclass(frozen=True, slots=True)
class LdarRecipe:
    """What a policy is trained with.

    Attributes:
        examples: questions to ask over made-up documents; None takes all.
        document_tokens: least and most of such a document, estimated; as many short ones as long ones, on a log scale.
        skips: how many of the most similar passages a band leaves out.
        sizes: how many passages it has. Each with each, at most MOST_BANDS.
        max_tokens: most of the passages that are read, in the reader's tokens.
        width, layers: of the network.
        entropy: weight of the spread over the bands, at first; it falls to nothing.
        without: datasets left out, for their licence or otherwise.
    """

    examples: int | None = 1000
    document_tokens: tuple[int, int] = (2000, 16_000)
    skips: tuple[int, ...] = (0, 1, 2, 4)
    sizes: tuple[int, ...] = (1, 2, 4, 8)
    max_tokens: int = 2000
    width: int = 256
    layers: int = 2
    steps: int = 600
    batch: int = 64
    learning_rate: float = 3e-4
    entropy: float = 0.5
    seed: int = 1
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 < len(self.bands) <= MOST_BANDS:
            raise ConfigurationError(
                f"{len(self.skips)} skips and {len(self.sizes)} sizes are {len(self.bands)} bands",
                hint=f"a policy learns from 2 to {MOST_BANDS} of them",
            )
        if min(self.skips) < 0 or min(self.sizes) < 1:
            raise ConfigurationError("a band leaves out 0 passages or more, and has 1 or more")
        if not 0 < self.document_tokens[0] <= self.document_tokens[1]:
            raise ConfigurationError(f"documents of {self.document_tokens} tokens", hint="give least and most")
        for name in ("max_tokens", "width", "layers", "steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, not above 0")
        if self.width % 4:
            raise ConfigurationError(f"width is {self.width}", hint="give a multiple of 4")

    @property
    def table(self) -> dict[str, Any]:
        """What the rewards depend on: all but how the policy is fitted to them."""
        return {name: getattr(self, name) for name in TABLE}

    @property
    def bands(self) -> tuple[Places, ...]:
        """Each once, those that begin at the top first."""
        return tuple(dict.fromkeys(product(self.skips, self.sizes)))


@dataclass(frozen=True, slots=True)
class Row:
    """One question over one document.

    Attributes:
        group: the passage with the answer; questions over one are not independent.
        similarities: of its segments with the question, in document order.
        bands: those of the recipe that the document and the reader have room for.
        rewards: of each, nats a token of the answer.
        tokens: of the passages that are read.
    """

    id: str
    fold: str
    dataset: str
    group: str
    similarities: tuple[float, ...]
    bands: tuple[Places, ...]
    rewards: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def tells(self) -> bool:
        """Whether there was anything to choose between."""
        return len(self.bands) > 1


class Asked:
    """A question over a document that is joined from its passage and others of its dataset that do not answer it, half
    of them like the question. The same each time.

    Args:
        engine: reads; can also say how likely an answer is (`Foretells`).
    """

    def __init__(self, example: Example, gold: Text, pool: Pool, recipe: LdarRecipe, engine: Engine) -> None:
        self.example = example
        self.answer = preferred(example.answers)
        self._gold, self._pool, self._recipe, self._engine = gold, pool, recipe, engine

    @cached_property
    def corpus(self) -> Corpus:
        """The document, in segments."""
        draw = draws("ldar", self._recipe.seed, self.example.id)
        document = _document(self.example, self._gold, self._pool, self._recipe, draw)
        return Corpus([document], segment(document))

    def similarities(self, embedder: Embedder) -> tuple[float, ...]:
        """Cosine of every segment with the question.

        Raises:
            ModelError: the embedder broke its contract.
        """
        texts = [self.corpus.text(each.span) for each in self.corpus.segments]
        vectors = checked(embedder.embed(texts), len(texts), embedder.dimension)
        found = vectors @ of_question(embedder, self.example.question)
        return tuple(round(float(each), 6) for each in found)

    def row(self, fold: str, similarities: tuple[float, ...], watch: Watch) -> Row:
        """Asks the reader for every band."""
        found = {
            band: context
            for band in self._recipe.bands
            if sum(band) <= len(similarities) and self.fits(context := self.context(similarities, band))
        }
        return Row(
            self.example.id,
            fold,
            self.example.dataset,
            self.example.passage,
            similarities,
            tuple(found),
            tuple(round(each, 5) for each in self.rewards(list(found.values()), watch)),
            tuple(map(self.tokens, found.values())),
        )

    def context(self, similarities: Sequence[float], band: Places) -> Context:
        """What is read of a band: its passages in document order."""
        ranked = np.argsort(-np.array(similarities), kind="stable")
        spans = [self.corpus.segments[number].span for number in ranked[band[0] : sum(band)]]
        passages = [Passage(span, self.corpus.text(span), 0.0) for span in spans]
        question = self.example.question
        return Context(tuple(joined(passages, self.corpus)), question, task=task_of(question))

    def fits(self, context: Context) -> bool:
        """Whether it may be read."""
        more = self._engine.count_text(self.answer)
        window = self._engine.model.window
        return self.tokens(context) <= self._recipe.max_tokens and self._engine.count(context) + more <= window

    def tokens(self, context: Context) -> int:
        """Of the passages."""
        return sum(self._engine.count_text(part.text) for part in context.parts)

    def rewards(self, contexts: Sequence[Context], watch: Watch) -> list[float]:
        """How likely the answer is after each.

        Raises:
            EngineError, ModelError: see `Inside.likelihood`.
        """
        if not isinstance(self._engine, Foretells):
            raise ConfigurationError(
                f"{self._engine.model.name} can't say how likely an answer is",
                hint="use a model that this machine runs",
            )
        return self._engine.likelihood(contexts, self.answer, watch) if contexts else []


def append(file: Path, row: Row) -> None:
    """Adds a row as a line."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(dataclasses.asdict(row)) + "\n")


def load(file: Path) -> list[Row]:
    """The rows of a file, none of one that is not there. A last line that was half written is taken away.

    Raises:
        ConfigurationError: another line is damaged.
    """
    if not file.is_file():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with file.open("r+b") as out:
            out.truncate(len(whole))
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found: dict[str, Any] = {
                name: tuple(map(_whole, value)) if isinstance(value, list) else value
                for name, value in json.loads(line).items()
            }
            rows.append(Row(**found))
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{file}:{number} is damaged: {error}", hint="remove the line") from error
    return rows


def _whole(value: Any) -> Any:
    """A band as it is here, and not as JSON has it."""
    return tuple(value) if isinstance(value, list) else value


def _document(example: Example, gold: Text, pool: Pool, recipe: LdarRecipe, draw: random.Random) -> Document:
    low, high = map(math.log, recipe.document_tokens)
    tokens = round(math.exp(draw.uniform(low, high)))
    passages = pool.around(example, gold, tokens - estimate_tokens(gold.text), draw)
    passages.insert(draw.randrange(len(passages) + 1), gold)
    text = "\n\n".join(passage.text.strip() for passage in passages)
    return Document(f"joined/{example.id}", "joined", text, "", "text")

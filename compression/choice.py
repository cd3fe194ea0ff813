"""The best scorer of those that are here: the trained one, else by meaning, else by words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.compression.cross_encoder import CARD, WEIGHTS, read_card
from turnout.compression.extractive import Extractive
from turnout.compression.pruner import SHIPPED, Pruner
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.retrieval.embed import SentenceEmbedder

if TYPE_CHECKING:
    from turnout.contracts import Embedder, SegmentCache, UnitScorer


def best_scorer(embedder: Embedder | None, weights: Path = SHIPPED) -> UnitScorer:
    """The pruner where its weights are here and belong to the embedder; else the embedder itself; without one, words.

    Args:
        weights: folder of the pruner's weights.

    Raises:
        ModelError: the weights' card is damaged.
    """
    if embedder is None:
        return ByWords()
    if isinstance(embedder, SentenceEmbedder) and _belong(weights, embedder.folder):
        return Pruner(embedder.folder, weights, embedder.device)
    return ByMeaning(embedder)


def extractive(scorer: UnitScorer, count: Callable[[str], int], cache: SegmentCache | None) -> Extractive:
    """Keeps sentences by a scorer, with its scores in a cache where they can be kept.

    Args:
        count: tokens of a text, in the reader's tokenizer.
    """
    # By words a score is one among all that are scored together.
    return Extractive(scorer, count, None if isinstance(scorer, ByWords) else cache)


def _belong(weights: Path, embedder: Path) -> bool:
    if not all((weights / name).is_file() for name in (WEIGHTS, CARD)):
        return False
    return bool(read_card(weights).get("base") == embedder.name)

"""The best scorer of those that are here: the trained one, else by meaning, else by words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.compression.cross_encoder import CARD, WEIGHTS
from turnout.compression.extractive import Extractive
from turnout.compression.pruner import SHIPPED, Pruner
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.errors import ModelError
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
    try:
        card = json.loads((weights / CARD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{weights / CARD} is damaged: {error}", hint="get the weights again, or remove their folder"
        ) from error
    return isinstance(card, dict) and card.get("base") == embedder.name

"""The best scorer of those that are here: the trained one, else by meaning, else by words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.compression.cross_encoder import CARD, WEIGHTS, read_card
from turnout.compression.extractive import Extractive, RelevanceRanker
from turnout.compression.pruner import SHIPPED, Pruner
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.compression.units import BY_RULES, Cuts
from turnout.errors import ConfigurationError
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.rerank import CrossEncoderRanker

if TYPE_CHECKING:
    from turnout.contracts import Embedder, Ranker, SegmentCache, UnitScorer


def best_scorer(embedder: Embedder | None, weights: Path = SHIPPED, cuts: Cuts = BY_RULES) -> UnitScorer:
    """The pruner where its weights are here and belong to the embedder; else the embedder itself; without one, words.

    Args:
        weights: folder of the pruner's weights.
        cuts: what cuts texts into the units that are scored.

    Raises:
        ModelError: the weights' card is damaged.
    """
    if embedder is None:
        return ByWords(cuts)
    if isinstance(embedder, SentenceEmbedder) and _belong(weights, embedder.folder):
        return Pruner(embedder.folder, weights, embedder.device, cuts)
    return ByMeaning(embedder, cuts)


def is_pruner(folder: Path) -> bool:
    """Whether a folder holds what `turnout train pruner` wrote."""
    return all((folder / name).is_file() for name in (WEIGHTS, CARD))


def ranker(
    folder: Path, embedder: Embedder | None, device: str | None, cache: SegmentCache, cuts: Cuts = BY_RULES
) -> Ranker:
    """What puts passages in order: a pruner, or a cross-encoder.

    Args:
        folder: of its weights.
        cache: keeps what a pruner says of passages.

    Raises:
        ConfigurationError: a pruner's weights were trained on another encoder than the embedder's.
        ModelError: their card is damaged.
    """
    if not is_pruner(folder):
        return CrossEncoderRanker(folder, device)
    scorer = best_scorer(embedder, folder, cuts)
    if not isinstance(scorer, Pruner):
        raise ConfigurationError(
            f"the pruner in {folder} was trained on {read_card(folder).get('base')!r}, "
            f"and the embedder is {'missing' if embedder is None else 'another one'}",
            hint="use it with the embedder that it was trained on, or leave the reranker out",
        )
    return RelevanceRanker(scorer, folder.name, cache, cuts)


def extractive(
    scorer: UnitScorer, count: Callable[[str], int], cache: SegmentCache | None, cuts: Cuts = BY_RULES
) -> Extractive:
    """Keeps sentences by a scorer, with its scores in a cache where they can be kept.

    Args:
        count: tokens of a text, in the reader's tokenizer.
    """
    # By words a score is one among all that are scored together.
    return Extractive(scorer, count, None if isinstance(scorer, ByWords) else cache, cuts)


def _belong(weights: Path, embedder: Path) -> bool:
    return is_pruner(weights) and bool(read_card(weights).get("base") == embedder.name)

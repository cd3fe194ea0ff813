"""What a pruner is worth on questions that it was not trained on: evidence kept by length, and passages in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from turnout.compression.selection import PassageScores
from turnout.contracts import Embedder, UnitScorer
from turnout.retrieval.segment import estimate_tokens
from turnout.router.evaluation.statistics import macro_interval
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.pruner_examples import Pair, around_of, pieces

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
KEPT = (0.2, 0.4)
"""Shares of tokens at which pruners are compared with what keeps units by words or by meaning."""

CANDIDATES = 20
"""Passages that are put in order for one question: its own, and those most like it by words."""

RANKS = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """One passage, with what is known of it and what a scorer says."""

    pair: Pair
    scored: PassageScores

    def at(self, threshold: float) -> tuple[float, float]:
        """(share of the evidence's characters kept, share of the tokens kept) at a threshold."""
        return self._shares([score >= threshold for score in self.scored.scores])

    def up_to(self, share: float) -> tuple[float, float]:
        """As `at`, of the best units whose tokens together are at most a share of the passage's."""
        sizes = [estimate_tokens(self.pair.passage[unit.start : unit.end]) for unit in self.scored.units]
        left = share * sum(sizes)
        kept = [False] * len(sizes)
        for place in sorted(range(len(sizes)), key=lambda place: -self.scored.scores[place]):
            if sizes[place] <= left:
                kept[place] = True
                left -= sizes[place]
        return self._shares(kept)

    def _shares(self, kept: Sequence[bool]) -> tuple[float, float]:
        units = [unit for unit, is_kept in zip(self.scored.units, kept, strict=True) if is_kept]
        found = sum(
            max(0, min(unit.end, end) - max(unit.start, start)) for unit in units for start, end in self.pair.wanted
        )
        wanted = sum(
            max(0, min(unit.end, end) - max(unit.start, start))
            for unit in self.scored.units
            for start, end in self.pair.wanted
        )
        tokens = sum(estimate_tokens(self.pair.passage[unit.start : unit.end]) for unit in units)
        whole = sum(estimate_tokens(self.pair.passage[unit.start : unit.end]) for unit in self.scored.units)
        return (found / wanted if wanted else 0.0), tokens / max(whole, 1)


def figures(scorer: UnitScorer, pairs: Sequence[Pair]) -> dict[str, Any]:
    """What a scorer keeps: at each threshold, the share of the evidence (macro over datasets, with its interval over
    passages) and of the tokens, on passages that have some and, as `idle`, on those that have none; and at fixed
    shares of the tokens, the evidence."""
    seen = [Kept(pair, next(scorer.score(pair.question, [pair.passage]))) for pair in pairs]
    with_evidence = [kept for kept in seen if kept.pair.wanted]
    without = [kept for kept in seen if not kept.pair.wanted]
    found: dict[str, Any] = {"passages": len(seen), "with_evidence": len(with_evidence), "threshold": {}, "share": {}}
    for threshold in THRESHOLDS:
        shares = [kept.at(threshold) for kept in with_evidence]
        found["threshold"][f"{threshold:g}"] = {
            "evidence": _macro([share for share, _ in shares], with_evidence),
            "tokens": round(fmean(tokens for _, tokens in shares), 4),
            "idle": round(fmean([kept.at(threshold)[1] for kept in without] or [0.0]), 4),
        }
    for share in KEPT:
        at = [kept.up_to(share)[0] for kept in with_evidence]
        found["share"][f"{share:g}"] = _macro(at, with_evidence)
    return found


def _macro(values: Sequence[float], kept: Sequence[Kept]) -> dict[str, float]:
    interval = macro_interval(values, [each.pair.group for each in kept], [each.pair.dataset for each in kept])
    return {name: round(getattr(interval, name), 4) for name in ("mean", "low", "high")}


def ranking(
    data: TrainingData, examples: Sequence[Example], relevance: Callable[[str, Sequence[str]], Sequence[float]]
) -> dict[str, float]:
    """nDCG@10 of a question's own piece among pieces of the passages most like it, macro over datasets.

    Args:
        relevance: of texts for a question, higher is better.
    """
    around = around_of(data, examples)
    gains: list[float] = []
    asked: list[Example] = []
    for example in examples:
        texts, own = _candidates(example, data.passages, around)
        if own is None or len(texts) < 2:
            continue
        scores = np.asarray(relevance(example.question, texts))
        rank = 1 + int((scores > scores[own]).sum())
        gains.append(1 / math.log2(rank + 1) if rank <= RANKS else 0.0)
        asked.append(example)
    interval = macro_interval(gains, [each.passage for each in asked], [each.dataset for each in asked])
    return {"questions": len(gains)} | {name: round(getattr(interval, name), 4) for name in ("mean", "low", "high")}


def by_meaning(embedder: Embedder) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """`relevance` of an embedder, for `ranking`."""

    def cosines(question: str, texts: Sequence[str]) -> list[float]:
        vectors = embedder.embed([question, *texts])
        return [float(value) for value in vectors[1:] @ vectors[0]]

    return cosines


def by_scorer(scorer: UnitScorer) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """`relevance` of a scorer."""
    return lambda question, texts: [scored.relevance for scored in scorer.score(question, texts)]


def _candidates(
    example: Example, passages: Mapping[str, Passage], around: Mapping[str, Any]
) -> tuple[list[str], int | None]:
    """Texts, and which of them holds the first of the evidence."""
    pool = around[example.dataset]
    own = passages[example.passage]
    evidence = set(example.evidence)
    texts: list[str] = []
    place = None
    for passage in [own, *(other for other in pool.alike(example.question) if other.id != own.id)]:
        if passage is not own and pool.may_answer(passage, example, own):
            continue
        for first, last in pieces(passage):
            if passage is own and place is None and evidence & set(range(first, last)):
                place = len(texts)
            texts.append(passage.text[passage.sentences[first][0] : passage.sentences[last - 1][1]])
        if len(texts) >= CANDIDATES:
            break
    return texts, place

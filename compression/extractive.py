"""Extractive compression: the units of passages that an answer wants, word for word, and nothing else."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from turnout.compression.sealed import under
from turnout.compression.selection import PassageScores, Target, joined, select
from turnout.compression.units import BY_RULES, Cuts, Unit
from turnout.documents import SegmentKey
from turnout.progress import Watch
from turnout.types import Part

if TYPE_CHECKING:
    from turnout.contracts import Compressor, Ranker, SegmentCache, UnitScorer

_HEAD, _UNIT = struct.Struct("<If"), struct.Struct("<IIBf")


class Extractive:
    """Scores every part's units and keeps the best.

    Args:
        scorer: says how much each unit is wanted.
        count: tokens of a text, in the reader's tokenizer.
        cache: keeps scores by the text of a part and the question.
        cuts: what cuts texts for the scorer.
    """

    name = "extract"
    quotable = True

    def __init__(
        self,
        scorer: UnitScorer,
        count: Callable[[str], int],
        cache: SegmentCache | None = None,
        cuts: Cuts = BY_RULES,
    ) -> None:
        self._cuts = cuts
        self._scorer = scorer
        self._count = count
        self._cache = cache

    def compress(
        self, question: str, parts: Sequence[Part], target: Target, watch: Watch | None = None
    ) -> tuple[Part, ...]:
        """What is left of the parts, of which those that follow each other are one; all of them where leaving something
        out saves nothing.

        Raises:
            Cancelled: the watch said so; what was scored until then is cached.
        """
        whole, scored = joined(parts, self.scores(question, [part.text for part in parts], watch), self._cuts)
        kept = select(whole, scored, target, self._count)
        before, after = (sum(self._count(part.text) for part in each) for each in (whole, kept))
        return kept if after < before else whole

    def scores(self, question: str, passages: Sequence[str], watch: Watch | None = None) -> list[PassageScores]:
        """Of each passage, from the cache where it is there."""
        watch = watch or Watch()
        if self._cache is None:
            return list(self._scorer.score(question, passages, watch))
        keys = [self._key(question, text, watch.namespace) for text in passages]
        held = self._cache.get_many(keys)
        missing = [place for place, value in enumerate(held) if value is None]
        made: dict[int, PassageScores] = {}
        scored = self._scorer.score(question, [passages[place] for place in missing], watch)
        for done, (place, each) in enumerate(zip(missing, scored, strict=True), 1):
            self._cache.put(keys[place], _packed(each))
            made[place] = each
            watch.progress("scanning", done, len(missing))
        return [made[place] if value is None else _unpacked(value) for place, value in enumerate(held)]

    def _key(self, question: str, text: str, namespace: str | None) -> SegmentKey:
        asked, digest = (hashlib.sha256(each.encode(errors="surrogatepass")).hexdigest() for each in (question, text))
        by = f"{self._scorer.fingerprint}{self._cuts.fingerprint}"
        return SegmentKey(digest, f"scores/{asked}", under(namespace, by))


class RelevanceRanker:
    """Puts passages in order by the relevance that comes with a scorer's sentences: one pass for both (Provence, arXiv
    2501.16214). What was scored is cached, so that sentences of the same passages are then chosen without another one.

    Args:
        name: of the scorer's weights.
        cuts: what cuts texts for the scorer.
    """

    def __init__(self, scorer: UnitScorer, name: str, cache: SegmentCache | None, cuts: Cuts = BY_RULES) -> None:
        self.name = name
        self._scorer = scorer
        self._extractive = Extractive(scorer, len, cache, cuts)  # nothing is counted

    def open(self) -> None:
        """Loads the scorer."""
        next(self._scorer.score("warm", ["warm"]))

    def scores(self, question: str, texts: Sequence[str], watch: Watch | None = None) -> list[float]:
        """See `Ranker.scores`."""
        return [scored.relevance for scored in self._extractive.scores(question, texts, watch)]


def _packed(scored: PassageScores) -> bytes:
    units = (
        _UNIT.pack(unit.start, unit.end, unit.level, score)
        for unit, score in zip(scored.units, scored.scores, strict=True)
    )
    return _HEAD.pack(len(scored.units), scored.relevance) + b"".join(units)


def _unpacked(value: bytes) -> PassageScores:
    _, relevance = _HEAD.unpack_from(value)
    rows = list(_UNIT.iter_unpack(value[_HEAD.size :]))
    units = tuple(Unit(start, end, level) for start, end, level, _ in rows)
    return PassageScores(relevance, units, tuple(score for *_, score in rows))


if TYPE_CHECKING:
    _: type[Compressor] = Extractive
    _r: type[Ranker] = RelevanceRanker

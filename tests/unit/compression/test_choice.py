"""The best scorer of those that are here."""

import json
from pathlib import Path

import pytest
from support.embedders import WordEmbedder

from turnout import Turnout
from turnout.compression.choice import best_scorer, extractive, ranker
from turnout.compression.cross_encoder import CARD, WEIGHTS
from turnout.compression.extractive import RelevanceRanker
from turnout.compression.memory_cache import MemoryCache
from turnout.compression.pruner import Pruner
from turnout.compression.scorers import ByMeaning, ByWords
from turnout.compression.selection import Target
from turnout.documents import Span
from turnout.engines.fake import FakeEngine
from turnout.errors import ConfigurationError, ModelError
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.rerank import CrossEncoderRanker
from turnout.types import Part


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / CARD).write_text(json.dumps({"base": "bert", "scale": 1}))
    return folder


def test_without_an_embedder_words_and_with_one_meaning(tmp_path: Path) -> None:
    assert isinstance(best_scorer(None), ByWords)
    assert isinstance(best_scorer(WordEmbedder()), ByMeaning)
    assert isinstance(best_scorer(SentenceEmbedder(tmp_path / "bert"), tmp_path / "nowhere"), ByMeaning)


def test_trained_weights_win_with_the_embedder_that_they_belong_to(weights: Path, tmp_path: Path) -> None:
    assert isinstance(best_scorer(SentenceEmbedder(tmp_path / "bert"), weights), Pruner)
    assert isinstance(best_scorer(SentenceEmbedder(tmp_path / "another"), weights), ByMeaning)
    assert isinstance(best_scorer(WordEmbedder(), weights), ByMeaning)
    (weights / WEIGHTS).unlink()
    assert isinstance(best_scorer(SentenceEmbedder(tmp_path / "bert"), weights), ByMeaning)


def test_a_damaged_card_is_told(weights: Path, tmp_path: Path) -> None:
    (weights / CARD).write_text("{")
    with pytest.raises(ModelError, match=r"card\.json is damaged"):
        best_scorer(SentenceEmbedder(tmp_path / "bert"), weights)


def test_a_pruner_puts_passages_in_order_and_reads_them_once_for_that_and_for_their_sentences() -> None:
    class Counting(ByMeaning):
        read = 0

        def score(self, question, passages, watch=None):
            self.read += len(passages)
            return super().score(question, passages, watch)

    question, texts = "Who mended the lamp?", ["Coal came by cart.", "Marta mended the lamp. It rained."]
    scorer, cache = Counting(WordEmbedder()), MemoryCache()
    first, second = RelevanceRanker(scorer, "pruner", cache).scores(question, texts)
    assert second > first
    parts = [Part(text, Span(str(number), 0, len(text))) for number, text in enumerate(texts)]
    assert extractive(scorer, len, cache).compress(question, parts, Target(0.5))[0].text == "Marta mended the lamp."
    assert scorer.read == 2


def test_a_folder_is_a_pruner_of_this_embedder_or_a_cross_encoder(weights: Path, tmp_path: Path) -> None:
    found = ranker(weights, SentenceEmbedder(tmp_path / "bert"), None, MemoryCache())
    assert isinstance(found, RelevanceRanker) and found.name == "weights"
    assert isinstance(ranker(tmp_path / "other", None, None, MemoryCache()), CrossEncoderRanker)
    for embedder in (None, SentenceEmbedder(tmp_path / "another")):
        with pytest.raises(ConfigurationError, match="was trained on 'bert'"):
            ranker(weights, embedder, None, MemoryCache())
    with Turnout(engine=FakeEngine(), embedder=SentenceEmbedder(tmp_path / "bert"), reranker=weights) as t:
        assert isinstance(t._opened().scorer, Pruner)


def test_scores_by_words_are_of_all_that_is_scored_together_and_not_kept() -> None:
    cache = MemoryCache()
    text = "The lamp was mended by Marta. It rained."
    for scorer, entries in ((ByWords(), 0), (ByMeaning(WordEmbedder()), 1)):
        extractive(scorer, len, cache).compress("Who mended the lamp?", [Part(text, Span("d", 0, 40))], Target(0.2))
        assert cache.statistics().entries == entries


def test_a_question_is_embedded_as_one() -> None:
    class Asked(WordEmbedder):
        def embed_question(self, question: str):
            return self.embed(["coal"])[0]

    (scored,) = ByMeaning(Asked()).score("Who mended the lamp?", ["The lamp was mended. Coal came."])
    assert scored.scores[1] > scored.scores[0]

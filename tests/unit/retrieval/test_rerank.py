"""A cross-encoder puts passages in order, as the model says, whatever their length; only safe folders are loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_bert
from support.embedders import WordEmbedder

from turnout import Text, Turnout
from turnout.documents import Document, Segment, Span
from turnout.engines.fake import FakeEngine
from turnout.errors import Cancelled, ModelError
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.hybrid import RANKED, HybridRetriever
from turnout.retrieval.rerank import CrossEncoderRanker

pytest.importorskip("torch")

WORDS = "the lamp was repaired by marta coal came cart ferry costs four crowns rain fell it is old".split()
QUESTION = "the ferry costs four crowns"
TEXTS = ["rain fell", "the ferry is old", "coal came by cart", "the lamp was repaired by marta"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "cross")


def build(folder: Path, labels: int = 1) -> Path:
    """A random cross-encoder."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    tiny_bert.build(folder, WORDS)
    torch.manual_seed(1)
    config = BertConfig(**json.loads((folder / "config.json").read_text()), num_labels=labels)
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_max_length=32, **marks
    ).save_pretrained(folder)
    return folder


class ByLength:
    """Longer is better; remembers what it has read."""

    name = "length"

    def __init__(self) -> None:
        self.read: list[str] = []
        self.opened = 0

    def open(self) -> None:
        self.opened += 1

    def scores(self, question: str, texts: Sequence[str], watch: Watch | None = None) -> list[float]:
        self.read += texts
        return [float(len(text)) for text in texts]


def corpus_of(pieces: Sequence[str], embedder: WordEmbedder) -> Corpus:
    start, segments = 0, []
    for piece in pieces:
        segments.append(Segment(Span("d", start, start + len(piece)), piece, len(piece)))
        start += len(piece)
    vectors = embedder.embed(pieces)
    document = Document("d", "d", "".join(pieces), "d.txt", "text")
    return Corpus([document], segments, fingerprint=embedder.fingerprint, vectors=lambda: vectors)


def test_scores_are_the_models_own(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    for text in TEXTS:
        with torch.inference_mode():
            expected.append(float(model(**tokenizer(QUESTION, text, return_tensors="pt")).logits[0, 0]))
    found = CrossEncoderRanker(folder, "cpu").scores(QUESTION, TEXTS)
    assert found == pytest.approx(expected, abs=1e-4)
    assert len(set(found)) == len(TEXTS)


def test_a_long_passage_is_as_good_as_its_best_piece(folder: Path) -> None:
    ranker = CrossEncoderRanker(folder, "cpu")
    long = " ".join([*TEXTS] * 8)
    (whole,) = ranker.scores(QUESTION, [long])
    assert np.isfinite(whole)
    assert whole != ranker.scores(QUESTION, [" ".join(long.split()[:20])])[0]
    assert len(ranker.scores("ferry " * 500, TEXTS)) == len(TEXTS)
    assert np.isfinite(ranker.scores("", ["", "rain"])).all()
    assert ranker.scores(QUESTION, []) == []


def test_the_best_passages_are_put_in_order_and_the_others_stay_behind() -> None:
    embedder, ranker = WordEmbedder(), ByLength()
    pieces = [f"The ferry{' old' * (number % 7)} number {number}. " for number in range(RANKED + 10)]
    corpus = corpus_of(pieces, embedder)
    retriever = HybridRetriever(embedder, ranker=ranker)
    retriever.warm(corpus)
    assert ranker.opened == 1
    plain = HybridRetriever(embedder).retrieve("old ferry", corpus, len(pieces))
    found = retriever.retrieve("old ferry", corpus, len(pieces))
    assert ranker.read == [passage.text for passage in plain[:RANKED]]
    assert [p.text for p in found[:RANKED]] == sorted((p.text for p in plain[:RANKED]), key=lambda text: -len(text))
    assert [p.span for p in found[RANKED:]] == [p.span for p in plain[RANKED:]]
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert retriever.retrieve("old ferry", corpus, 3) == found[:3]
    assert retriever.retrieve("old ferry", corpus, 0) == []


def test_a_search_and_an_answer_by_a_reranker(folder: Path) -> None:
    text = Text("The ferry costs four crowns. " * 30 + "\n\n" + "Coal came by cart. " * 60, "book.txt")
    with Turnout(engine=FakeEngine(), embedder=WordEmbedder(), reranker=folder) as t:
        hits = t.search("What does the ferry cost?", text, limit=3)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        best = CrossEncoderRanker(folder, "cpu").scores("What does the ferry cost?", [hits[0].text])[0]
        assert hits[0].score == pytest.approx(best, abs=1e-3)
        assert t.ask("What does the ferry cost?", text, strategy="rag").text


def test_it_can_be_given_up(folder: Path) -> None:
    with pytest.raises(Cancelled):
        CrossEncoderRanker(folder, "cpu").scores(QUESTION, TEXTS * 20, Watch(lambda: True))


def test_what_is_no_reranker_or_unsafe_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="is missing"):
        CrossEncoderRanker(tmp_path / "nowhere").open()
    with pytest.raises(ModelError, match="tells 3 labels apart"):
        CrossEncoderRanker(build(tmp_path / "three", labels=3), "cpu").open()
    coded = tmp_path / "coded"
    coded.mkdir()
    (coded / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.py"}}))
    with pytest.raises(ModelError, match="own code"):
        CrossEncoderRanker(coded).open()
    (coded / "config.json").write_text("{}")
    (coded / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="pickled weights"):
        CrossEncoderRanker(coded).open()
    ranker = CrossEncoderRanker(folder, "cpu")
    ranker.open()
    assert ranker._loaded is not None
    model: Any = ranker._loaded[0]
    monkeypatch.setattr(model.classifier.weight, "data", model.classifier.weight.data * float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        ranker.scores(QUESTION, TEXTS)

"""Sentences as SaT says where they end, over a tiny model that ends them after the word "stop"."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from support.embedders import WordEmbedder

from turnout import Turnout
from turnout.compression.sat import WINDOW_TOKENS, SatCuts, windows_of
from turnout.compression.units import BY_RULES
from turnout.engines.fake import FakeEngine
from turnout.errors import ModelError

torch = pytest.importorskip("torch")

TEXT = "marta mended the lamp stop rain fell on the roofs stop coal came by cart"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "sat")


def build(folder: Path) -> Path:
    """A model without layers: what it says of a token hangs on the token alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import XLMRobertaConfig, XLMRobertaForTokenClassification

    words = ["<s>", "<pad>", "</s>", "<unk>", "stop", *dict.fromkeys(TEXT.replace("stop", "").split())]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = XLMRobertaConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=WINDOW_TOKENS + 4,
        num_labels=1,
    )
    model = XLMRobertaForTokenClassification(config)
    with torch.no_grad():
        for each in model.parameters():
            each.zero_()
        model.roberta.embeddings.LayerNorm.weight.fill_(1)
        model.roberta.embeddings.word_embeddings.weight[4, 0] = 1
        model.classifier.weight[0, 0] = 10
        model.classifier.bias.fill_(-5)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    change(folder, model_type="xlm-token", architectures=["SubwordXLMForTokenClassification"], lookahead=None)
    return folder


def change(folder: Path, **fields: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def texts(cuts: SatCuts, text: str) -> list[str]:
    return [text[unit.start : unit.end] for unit in cuts(text)]


def test_sentences_end_where_the_model_says_so_and_the_rest_stays_whole(folder: Path) -> None:
    cuts = SatCuts(folder, "cpu")
    sentences = ["marta mended the lamp stop", "rain fell on the roofs stop", "coal came by cart"]
    assert texts(cuts, TEXT) == sentences
    assert [TEXT[unit.start : unit.end] for unit in BY_RULES(TEXT)] == [TEXT]
    table = "| a stop | b |\n|---|---|\n| c stop | d |"
    assert texts(cuts, f"# Lamps stop\n\n{TEXT}\n\n{table}\n") == ["# Lamps stop", *sentences, table]
    assert cuts("") == () and cuts(" \n\n ") == ()


def test_a_text_over_the_window_is_read_in_windows(folder: Path) -> None:
    text = " ".join(f"{'rain ' * (n % 7)}fell stop" for n in range(300))
    found = texts(SatCuts(folder, "cpu"), text)
    assert found == [f"{each}stop".strip() for each in text.split("stop")[:-1]]
    for length in (0, 1, WINDOW_TOKENS, WINDOW_TOKENS + 1, 1000):
        windows = windows_of(length)
        news = [new for _, _, new in windows]
        assert [0, *news[1:], length][: len(windows)] == news
        assert all(first <= new < last <= length and last - first <= WINDOW_TOKENS for first, last, new in windows)
        assert all(after[2] <= before[1] for before, after in pairwise(windows))
        assert not windows or windows[-1][1] == length


@pytest.mark.parametrize(
    "text",
    ["lamp" * 5000, "rain " * 3000, "雨が降った。" * 400, "\x00 e\u0301 \ufeff 👩‍👩‍👧", "def f(:\n  lamp\n" * 50],
)
def test_odd_texts_lose_nothing(folder: Path, text: str) -> None:
    assert "".join("".join(texts(SatCuts(folder, "cpu"), text)).split()) == "".join(text.split())


def test_compressors_cut_by_it_and_keep_their_scores_apart(folder: Path, tmp_path: Path) -> None:
    found = []
    for sat in (folder, None):
        with Turnout(engine=FakeEngine(), embedder=WordEmbedder(), home=tmp_path, sat=sat) as t:
            ((excerpt, *_),) = t.compress("who mended the lamp?", [TEXT], threshold=0.5)
            found.append(excerpt.text)
    assert found == ["marta mended the lamp stop", TEXT]


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is missing"):
        SatCuts(tmp_path / "nowhere")("Rain fell.")
    with pytest.raises(ModelError, match="can't be loaded"):
        _ = SatCuts(tmp_path / "nowhere").fingerprint
    other = build(tmp_path / "other")
    assert SatCuts(other).fingerprint == SatCuts(folder).fingerprint
    change(other, lookahead=48)
    assert SatCuts(other).fingerprint != SatCuts(folder).fingerprint
    with pytest.raises(ModelError, match="looks 48 tokens ahead"):
        SatCuts(other)("Rain fell.")
    change(other, model_type="bert")
    with pytest.raises(ModelError, match="holds no SaT model"):
        SatCuts(other)("Rain fell.")
    change(other, model_type="xlm-token", lookahead=None)
    (other / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="can't be loaded"):
        SatCuts(other)("Rain fell.")

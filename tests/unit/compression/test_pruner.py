"""The pruner over a random encoder with random heads: how scores reach sentences."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import tiny_bert

from turnout.compression import cross_encoder
from turnout.compression.cross_encoder import CARD, WEIGHTS, CrossEncoder, pieces_of
from turnout.compression.pruner import Pruner, _middle
from turnout.errors import Cancelled, ModelError
from turnout.progress import Watch
from turnout.retrieval.embedder_folder import EmbedderFolder

torch = pytest.importorskip("torch")

TEXT = "the lamp was repaired by marta. coal came by cart. the ferry costs four crowns. rain fell."
WORDS = [*TEXT.replace(".", "").split(), ".", "?", "who", "what"]


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.compression.pruner.has_fast_bf16", lambda: False)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_bert.build(tmp_path / "bert", WORDS, positions=48)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write(tmp_path / "weights", rank=2)


def write(folder: Path, rank: int, module: str = "encoder.layer.0.attention.self.query") -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    source = torch.Generator().manual_seed(1)

    def made(*shape: int) -> object:
        return torch.randn(shape, generator=source)

    size = tiny_bert.DIMENSION
    heads = {
        f"{head}.{name}": made(1, size)[: None if name == "weight" else 1]
        for head in cross_encoder.HEADS
        for name in ("weight",)
    }
    heads |= {f"{head}.bias": made(1) for head in cross_encoder.HEADS}
    save_file(
        {**heads, f"{module}.lora_A.weight": made(rank, size), f"{module}.lora_B.weight": made(size, rank)},
        folder / WEIGHTS,
    )
    (folder / CARD).write_text(json.dumps({"scale": 0.5}))
    return folder


def test_a_unit_scores_as_the_middle_of_its_tokens(encoder: Path, weights: Path) -> None:
    pruner = Pruner(encoder, weights, "cpu")
    (scored,) = pruner.score("who repaired the lamp?", [TEXT])
    assert [TEXT[unit.start : unit.end] for unit in scored.units] == [s.strip() + "." for s in TEXT.split(".") if s]
    assert all(0 <= score <= 1 for score in (*scored.scores, scored.relevance))
    model = CrossEncoder.load(EmbedderFolder.read(encoder), weights, "cpu", "float32")
    asked, _ = model.encode("who repaired the lamp?")
    ids, offsets = model.encode(TEXT)
    ((keep,), (whole,)) = model.scores(asked, [ids], [[]])
    assert scored.relevance == pytest.approx(whole)
    for unit, score in zip(scored.units, scored.scores, strict=True):
        inside = [value for value, (start, _) in zip(keep, offsets, strict=True) if unit.start <= start < unit.end]
        assert score == pytest.approx(np.sort(inside)[(len(inside) - 1) // 2], abs=1e-6)


def test_scores_depend_on_the_question_and_on_what_stands_around(encoder: Path, weights: Path) -> None:
    pruner = Pruner(encoder, weights, "cpu")
    (first,) = pruner.score("who repaired the lamp?", [TEXT])
    (other,) = pruner.score("what costs four crowns?", [TEXT])
    (alone,) = pruner.score("who repaired the lamp?", [TEXT.partition(".")[0] + "."])
    assert first.scores != other.scores
    assert abs(first.scores[0] - alone.scores[0]) > 1e-4


def test_passages_scored_together_score_as_alone(encoder: Path, weights: Path) -> None:
    pruner = Pruner(encoder, weights, "cpu")
    passages = [TEXT, "rain fell.", "the cart came. " * 3, ""]
    together = list(pruner.score("who came?", passages))
    for text, scored in zip(passages, together, strict=True):
        (alone,) = pruner.score("who came?", [text])
        assert scored.scores == pytest.approx(alone.scores, abs=1e-5)
        assert scored.relevance == pytest.approx(alone.relevance, abs=1e-5)
    assert together[-1].units == ()
    assert list(pruner.score("who?", [])) == []


def test_scoring_ends_between_batches_and_gives_what_is_done(
    encoder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_encoder, "CPU_BATCH_TOKENS", 40)
    pruner, asked = Pruner(encoder, weights, "cpu"), []
    found = pruner.score("who came?", [TEXT] * 6, Watch(lambda: len(asked) >= 3 or asked.append(1)))
    done = [next(found) for _ in range(2)]
    with pytest.raises(Cancelled):
        list(found)
    assert [scored.units for scored in done] == [next(pruner.score("who came?", [TEXT])).units] * 2


def test_a_passage_too_long_to_be_read_at_once_is_cut_between_units(encoder: Path, weights: Path) -> None:
    pruner = Pruner(encoder, weights, "cpu")
    (scored,) = pruner.score("who came?", [TEXT + " " + TEXT + " " + TEXT])
    assert len(scored.scores) == 12
    giant = "the lamp was repaired by marta and " * 30
    (scored,) = pruner.score("who came? " * 200, [giant])
    assert all(np.isfinite(scored.scores))


def test_pieces_end_where_they_may_else_where_they_are_full() -> None:
    assert list(pieces_of(10, [0, 4, 8], 5)) == [(0, 4), (4, 8), (8, 10)]
    assert list(pieces_of(10, [0], 6)) == [(0, 6), (6, 10)]
    assert list(pieces_of(0, [], 6)) == []


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_middle_is_over_a_threshold_where_more_than_half_of_the_tokens_are(threshold: float) -> None:
    source = np.random.default_rng(0)
    for size in range(1, 9):
        scores = source.random(size).astype(np.float32)
        assert (_middle(scores) >= threshold) == ((scores >= threshold).sum() > size / 2)
    assert _middle(np.zeros(0, np.float32)) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t ",
        "the lamp and coal " * 1500,
        "x" * 60_000,
        "function(a){return a+1};var lamp=[1,2,3];" * 200,
        "def lamp(:\n  return [\n\nclass {\n" * 50,
        "The lamp. Die Lampe wurde repariert. 灯は修理された。اللمبة مكسورة. " * 20,
    ],
)
def test_odd_texts_are_scored_unit_by_unit(encoder: Path, weights: Path, text: str) -> None:
    pruner = Pruner(encoder, weights, "cpu")
    for question in ("who repaired the lamp?", "誰が灯を修理しましたか", "", "lamp " * 300):
        first, second = pruner.score(question, [text, "rain fell."])
        assert len(first.scores) == len(first.units) and len(second.units) == 1
        assert all(0 <= score <= 1 for score in (*first.scores, first.relevance, second.relevance))
        kept = "".join(text[unit.start : unit.end] for unit in first.units)
        assert "".join(kept.split()) == "".join(text.split())
        assert bool(first.units) == bool(text.strip())


def test_the_fingerprint_tells_weights_and_encoders_apart(encoder: Path, weights: Path, tmp_path: Path) -> None:
    first = Pruner(encoder, weights, "cpu").fingerprint
    assert first == Pruner(encoder, weights, "cpu").fingerprint
    assert first != Pruner(encoder, write(tmp_path / "more", rank=3), "cpu").fingerprint
    other = tiny_bert.build(tmp_path / "other", [*WORDS, "more"], positions=48)
    assert first != Pruner(other, weights, "cpu").fingerprint


def test_weights_that_are_not_here_or_do_not_fit_are_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"pruner\.safetensors is missing"):
        next(Pruner(encoder, tmp_path / "nowhere", "cpu").score("?", ["text"]))
    wrong = write(tmp_path / "wrong", rank=2, module="encoder.layer.7.attention.self.query")
    with pytest.raises(ModelError, match="do not fit the encoder"):
        next(Pruner(encoder, wrong, "cpu").score("?", ["text"]))
    (wrong / CARD).write_text("{}")
    with pytest.raises(ModelError, match="names no scale"):
        next(Pruner(encoder, wrong, "cpu").score("?", ["text"]))
    (wrong / CARD).write_text(json.dumps({"scale": 0.5, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match="not the weights of their card"):
        next(Pruner(encoder, wrong, "cpu").score("?", ["text"]))
    (wrong / CARD).write_text(json.dumps({"scale": 0.5}))
    (wrong / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(ModelError, match="can't be read"):
        next(Pruner(encoder, wrong, "cpu").score("?", ["text"]))

"""The embedder's two ways of running a folder, on tiny random models; and what it refuses."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from support import tiny_bert
from support.embedders import WordEmbedder
from support.tiny_bert import MEAN, modules, write

from turnout.errors import ModelError
from turnout.retrieval import embedder_folder
from turnout.retrieval.embed import SentenceEmbedder
from turnout.retrieval.embedder_folder import EmbedderFolder, has_fast_bf16
from turnout.retrieval.vectors import checked, pack, unpack

torch = pytest.importorskip("torch")

WORDS = "the lamp was repaired by marta coal came cart ferry costs four crowns rain fell".split()


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact comparisons whatever the processor."""
    monkeypatch.setattr("turnout.retrieval.embed.has_fast_bf16", lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert.build(tmp_path, WORDS)


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 28))) for _ in range(count)]


def test_vectors_are_unit_rows_in_the_order_of_the_texts(folder: Path) -> None:
    embedder, given = SentenceEmbedder(folder, "cpu"), texts(40)
    together = embedder.embed(given)
    assert together.shape == (40, embedder.dimension) == (40, 24)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.embed([text]) for text in given])
    assert np.allclose(together, alone, atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-2)


def test_progress_counts_every_text_once(folder: Path) -> None:
    done: list[int] = []
    SentenceEmbedder(folder, "cpu").embed([*texts(300), " ".join(WORDS * 20)], done.append)
    assert sum(done) == 301 and len(done) > 1


def test_no_texts(folder: Path) -> None:
    assert SentenceEmbedder(folder, "cpu").embed([]).shape == (0, 24)


def test_a_text_over_the_window_is_not_cut(folder: Path) -> None:
    embedder = SentenceEmbedder(folder, "cpu")
    start = " ".join(["the"] * 30)
    vectors = embedder.embed([start, start + " coal cart" * 30, " coal cart" * 15])
    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2] + 1e-3


def test_threads_share_one_embedder(folder: Path) -> None:
    embedder, given = SentenceEmbedder(folder, "cpu"), texts(8)
    expected, results = embedder.embed(given), []
    workers = [threading.Thread(target=lambda: results.append(embedder.embed(given))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 6 and all(np.allclose(result, expected, atol=1e-5) for result in results)


def test_the_fingerprint_follows_the_weights_and_the_number_format(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SentenceEmbedder(folder).fingerprint
    write(folder / "manifest.json", {"fetched": "today"})
    assert SentenceEmbedder(folder, "cpu").fingerprint == first
    monkeypatch.setattr("turnout.retrieval.embed.has_fast_bf16", lambda: True)
    assert SentenceEmbedder(folder).fingerprint != first
    monkeypatch.undo()
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert SentenceEmbedder(folder).fingerprint != first


def test_the_library_gives_the_same_vectors(folder: Path) -> None:
    """Both ways of running one folder; importing sentence-transformers takes seconds."""
    from turnout.retrieval.library_encoder import LibraryEncoder

    embedder, given = SentenceEmbedder(folder, "cpu"), texts(20)
    by_library = LibraryEncoder.load(EmbedderFolder.read(folder), "cpu").encode(given, lambda done: None)
    assert (embedder.embed(given) * by_library).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    ("change", "is_bert"),
    [
        ({}, True),
        ({"1_Pooling/config.json": {"embedding_dimension": 24, "pooling_mode": "mean"}}, True),
        ({"1_Pooling/config.json": {**MEAN, "pooling_mode_cls_token": True}}, False),
        ({"modules.json": modules("Transformer", "Pooling", "LayerNorm")}, False),
        ({"config_sentence_transformers.json": {"prompts": {"query": "query: "}}}, False),
        ({"config_sentence_transformers.json": {"prompts": {"query": ""}}}, True),
    ],
)
def test_only_plain_mean_pooled_bert_takes_the_short_way(
    folder: Path, change: dict[str, object], is_bert: bool
) -> None:
    for name, value in change.items():
        write(folder / name, value)
    assert EmbedderFolder.read(folder).is_bert is is_bert


def test_code_in_the_folder_is_refused_by_name(folder: Path) -> None:
    write(folder / "modules.json", [*modules("Transformer"), {"type": "custom_model.Pooling", "path": ""}])
    with pytest.raises(ModelError, match=r"its own code \(custom_model.Pooling\)"):
        SentenceEmbedder(folder).open()
    write(folder / "modules.json", modules("Transformer", "Pooling"))
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", {**config, "auto_map": {"AutoModel": "mine.Model"}})
    with pytest.raises(ModelError, match="auto_map"):
        SentenceEmbedder(folder).open()


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds pickled weights"):
        SentenceEmbedder(folder).open()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules.json", None, "missing"),
        ("modules.json", b"[]", "lists no modules"),
        ("config.json", b"{", "can't be read"),
        ("tokenizer.json", b"{}", "can't be loaded"),
        ("model.safetensors", b"junk", "can't be loaded"),
    ],
)
def test_damaged_files_are_named(folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        SentenceEmbedder(folder).open()


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there") as error:
        SentenceEmbedder(tmp_path / "none").open()
    assert "models pull" in error.value.hint


def test_missing_weights_are_counted(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lack encoder\.layer\.1\.output\.dense\.weight and 0 more"):
        SentenceEmbedder(folder).open()


def test_weights_that_are_not_numbers_are_found_out(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match="not numbers for 2 of 2 texts"):
        SentenceEmbedder(folder, "cpu").embed(["coal", "ferry"])


@pytest.mark.parametrize(
    ("flags", "expected"), [("fma avx512_bf16 vaes", True), ("amx_bf16", True), ("avx512f avx2", False)]
)
def test_fast_bf16_is_read_from_the_processor(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    assert has_fast_bf16(tmp_path / "cpuinfo") is expected
    assert embedder_folder.has_fast_bf16(tmp_path / "none") is False


def test_stored_vectors_come_back_bit_for_bit() -> None:
    vectors = WordEmbedder(dimension=7).embed(["coal cart", "ferry"])
    assert np.array_equal(unpack([pack(v) for v in vectors], 7), vectors)
    assert unpack([], 7).shape == (0, 7)


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 7\) for 2 texts"):
        checked(np.ones((1, 7), np.float32), 2, 7)

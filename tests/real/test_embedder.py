"""The default embedder against sentence-transformers itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout.retrieval.embed import SentenceEmbedder

pytestmark = pytest.mark.real

TEXTS = [
    "For a period of three (3) years following termination, each Party shall keep the Information confidential.",
    "The ferry to Osterholm costs four crowns on Sundays.",
    "def add(a, b):\n    return a + b  # both may be None",
    "渡し船は日曜日に四クローネです。",
    "Ünïcödé, “quotes” and a table | a | b | 1,204.50 |",
    " ".join(f"Clause {i} binds the tenant and the owner alike." for i in range(25)),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vectors_agree_with_sentence_transformers(real_home: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setattr("turnout.retrieval.embed.has_fast_bf16", lambda: dtype == "bfloat16")
    folder = real_home / "models" / "all-minilm-l6-v2"
    ours = SentenceEmbedder(folder, "cpu").embed(TEXTS)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    theirs.max_seq_length = 512
    cosines = (ours * theirs.encode(TEXTS, normalize_embeddings=True)).sum(axis=1)
    assert cosines.min() > (0.99999 if dtype == "float32" else 0.999)


def test_a_paraphrase_is_nearer_than_another_subject(real_home: Path) -> None:
    vectors = SentenceEmbedder(real_home / "models" / "all-minilm-l6-v2", "cpu").embed(
        ["How long does confidentiality last?", TEXTS[0], TEXTS[1]]
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_whole_segment_is_read(real_home: Path) -> None:
    """256 tokens, the model's own setting, would cut it: the second halves differ and must count."""
    half = " ".join(f"Clause {i} binds the tenant." for i in range(32))
    embedder = SentenceEmbedder(real_home / "models" / "all-minilm-l6-v2", "cpu")
    one, other = embedder.embed(
        [half + " Rain fell on the slate roofs." * 25, half + " A ferry costs four crowns." * 25]
    )
    assert np.dot(one, other) < 0.97

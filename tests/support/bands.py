"""Policies that pick bands: a fixed one, and a small network of random weights in its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turnout.retrieval.band import Band


class Fixed:
    """Always the same places of the ranking, as far as there are any."""

    def __init__(self, first: int, count: int, most_tokens: int = 1000, reader: str = "") -> None:
        self.first, self.count = first, count
        self.most_tokens, self.reader = most_tokens, reader

    def open(self) -> None:
        pass

    def band(self, similarities: NDArray[np.float32]) -> Band:
        size = len(similarities)
        first = min(self.first, size - 1)
        return Band.of(first, min(self.count, size - first), size)


def saved(folder: Path, *, embedder: str = "words", reader: str = "fake", max_tokens: int = 1000) -> Path:
    """Writes what `turnout train ldar` writes, of random weights."""
    import torch
    from safetensors.torch import save_file

    from turnout.retrieval.band_network import BandNetwork

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(BandNetwork(16, 1).state_dict(), folder / "ldar.safetensors")
    card = {
        "kind": "ldar",
        "reader": {"name": reader},
        "embedder": {"name": embedder},
        "recipe": {"max_tokens": max_tokens, "width": 16, "layers": 1},
        "sha256": hashlib.sha256((folder / "ldar.safetensors").read_bytes()).hexdigest(),
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder

"""Embedders for tests: no model, the same text always gives the same vector."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


class WordEmbedder:
    """Counts words into hashed buckets, so that texts with common words are near each other.

    Args:
        delay_s: sleeps this long per text, to be killed in between.
    """

    def __init__(self, name: str = "words", delay_s: float = 0.0, dimension: int = 64) -> None:
        self.fingerprint = blake2b(name.encode(), digest_size=32).hexdigest()
        self.dimension = dimension
        self.delay_s = delay_s
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.full((len(texts), self.dimension), 1e-3, np.float32)
        for row, text in enumerate(texts):
            time.sleep(self.delay_s)
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, int.from_bytes(blake2b(word.encode(), digest_size=4).digest()) % self.dimension] += 1
            self.embedded.append(text)
            if progress:
                progress(1)
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / lengths

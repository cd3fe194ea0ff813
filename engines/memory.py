"""How much memory a request needs, predicted from the shapes in the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.engines.folder import ModelFolder
from turnout.engines.paged.pages import KvShape, pages_for
from turnout.engines.paged.patterns import MOST_PROBES

PREFILL_CHUNK = 512
GPU_PREFILL_CHUNK = 4096
"""Prompt tokens per forward pass: bounds the activations and how long a caller waits for a cancellation. A GPU wants
larger products, and is fast enough for them."""


HELD = 48 << 20
"""What the C library keeps of the memory that loading a model has given back (benchmarks/engine_memory.py)."""


def prefill_chunk(device: str) -> int:
    return PREFILL_CHUNK if device == "cpu" else GPU_PREFILL_CHUNK


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes on a device, in bytes.

    Attributes:
        dtype_bytes: of one number of the weights, keys and values.
        int8: matrices are there a second time in int8, see `paged.lean`.
        paged: keys and values lie in pages; else in a cache of transformers, which grows by copying.
        chunk: prompt tokens per forward pass.
        sparse: prompts are read by an attention policy.
        bounded: new tokens choose pages, for which bounds are kept, see `paged.chosen`.
    """

    model: ModelFolder
    dtype_bytes: int
    int8: bool = False
    paged: bool = True
    chunk: int = PREFILL_CHUNK
    sparse: bool = False
    bounded: bool = False

    @property
    def weights(self) -> int:
        """The weights, loaded, with what loading them leaves taken."""
        model = self.model
        embedding = 0 if model.config.get("tie_word_embeddings") else model.vocabulary * model.hidden
        rounded = model.parameters - embedding if self.int8 else 0
        return model.parameters * self.dtype_bytes + rounded + HELD

    @property
    def kv_shape(self) -> KvShape:
        return KvShape(self.model.layers, self.model.kv_heads, self.model.head_dim)

    def cache(self, tokens: int) -> int:
        """Keys and values of every layer and KV head, in whole pages."""
        return pages_for(tokens) * self.kv_shape.page_bytes(self.dtype_bytes)

    def request(self, prompt_tokens: int, new_tokens: int) -> int:
        """Most that one request takes beyond the weights: keys and values, activations of a chunk, logits."""
        tokens = prompt_tokens + new_tokens
        needed = self.cache(tokens) + self._activations(prompt_tokens)
        if self.sparse:
            needed += self._choices(prompt_tokens)
        if self.bounded:
            # Two keys in bfloat16 for every 16 tokens.
            needed += self.cache(tokens) // (8 * self.dtype_bytes)
        return needed if self.paged else needed + self._copies(prompt_tokens, tokens)

    def _activations(self, prompt_tokens: int) -> int:
        model = self.model
        chunk = min(self.chunk, max(prompt_tokens, 1))
        # Residual, normed (once in float32), query, key, value, attention output; gate, up and their product.
        numbers = chunk * (10 * model.hidden + 3 * model.intermediate)
        return (numbers + model.vocabulary) * self.dtype_bytes + model.vocabulary * 4

    def _choices(self, prompt_tokens: int) -> int:
        """A layer's keys and values in two copies, and what is scored to choose from them: for each query head some
        numbers a key, and for those of a key head the weights of as many rows as are looked at."""
        model = self.model
        heads = max(model.hidden // model.head_dim, model.kv_heads)
        scores = prompt_tokens * (4 * heads + 2 * MOST_PROBES * heads // model.kv_heads)
        return 2 * self.cache(prompt_tokens) // model.layers + 4 * scores

    def _copies(self, prompt_tokens: int, tokens: int) -> int:
        """What a cache that is no pages has twice for a moment: a layer's share while it grows, keys and values
        repeated to all query heads, and a mask, which is bool and then a number."""
        model = self.model
        heads = max(model.hidden // model.head_dim, model.kv_heads)
        repeated = 2 * heads * model.head_dim * tokens * self.dtype_bytes
        mask = min(self.chunk, max(prompt_tokens, 1)) * tokens * (1 + self.dtype_bytes)
        return self.cache(tokens) // model.layers + repeated + mask

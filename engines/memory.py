"""How much memory a request needs, predicted from the shapes in the configuration."""

from __future__ import annotations

from turnout.engines.folder import ModelFolder

PREFILL_CHUNK = 512
"""Prompt tokens per forward pass: bounds the activations and how long a caller waits for a cancellation."""


def cache_bytes(model: ModelFolder, tokens: int, dtype_bytes: int) -> int:
    """KV cache of `tokens` tokens: keys and values of every layer and KV head."""
    return 2 * model.layers * model.kv_heads * model.head_dim * dtype_bytes * tokens


def request_bytes(model: ModelFolder, prompt_tokens: int, new_tokens: int, dtype_bytes: int) -> int:
    """Peak memory of one request beyond the weights: KV cache, activations of a chunk, attention mask, logits."""
    tokens = prompt_tokens + new_tokens
    chunk = min(PREFILL_CHUNK, max(prompt_tokens, 1))
    # The cache of a layer grows by concatenation, so one layer's share exists twice for a moment.
    cache = cache_bytes(model, tokens, dtype_bytes)
    growing = cache // model.layers
    # Residual, normed, query, key, value, attention output; gate, up and their product.
    activations = chunk * (8 * model.hidden + 3 * model.intermediate) * dtype_bytes
    # Keys and values are repeated to all query heads inside a layer's attention; the mask is bool and then a number.
    heads = max(model.hidden // model.head_dim, model.kv_heads)
    repeated = 2 * heads * model.head_dim * tokens * dtype_bytes
    mask = chunk * tokens * (1 + dtype_bytes)
    logits = model.vocabulary * (dtype_bytes + 4)
    return cache + growing + activations + repeated + mask + logits


def weight_bytes(model: ModelFolder, dtype_bytes: int) -> int:
    """Weights in memory."""
    return model.parameters * dtype_bytes

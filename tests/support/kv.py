"""A tiny model with its page pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CONFIG = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.5, "pad_token_id": 0,
    "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip
ARCHITECTURES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 100},
    "phi3": {"sliding_window": 70},
    "phi": {},
    "qwen2 with two kinds of layers": {"use_sliding_window": True, "sliding_window": 90, "max_window_layers": 1},
}


def network(name: str = "llama", **config: Any) -> Any:
    """A random model in float32 that computes as transformers does."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    made = AutoConfig.for_model(name.split()[0], **{**CONFIG, **ARCHITECTURES[name], **config})
    return AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()


def logits(model: Any, ids: Sequence[int]) -> Any:
    """[tokens, vocabulary] as transformers computes them in one pass."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([list(ids)])).logits[0]


def shape(model: Any) -> Any:
    from turnout.engines.paged.pages import KvShape

    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return KvShape(config.num_hidden_layers, heads, config.hidden_size // config.num_attention_heads)

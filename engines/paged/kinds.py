"""Which models pages are made for, and what their beginnings are kept under."""

from __future__ import annotations

from turnout.engines.folder import ModelFolder

MODEL_TYPES = frozenset({"llama", "mistral", "phi", "phi3", "qwen2", "qwen3"})
"""Model types whose attention is just softmax(q k / scale) v, causal, perhaps within a window."""

ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Ways of turning queries and keys that depend on their own position alone: a prompt is read in steps, and with other
ways the steps of a long prompt would differ from one pass over it."""


def are_pages_for(model: ModelFolder) -> bool:
    """Whether the keys and values of a model can lie in pages."""
    return model.config.get("model_type") in MODEL_TYPES and model.rope_type in ROPE_TYPES


Adapted = bool | str
"""Which adapter reads, of those beside the model's weights: its own, none, or another one by its key."""


def rooted(fingerprint: str, namespace: str | None, adapted: Adapted = True, attention: str = "") -> str:
    """What a beginning is kept under: two with different roots never find each other.

    Args:
        attention: key of the policy that it is read with, see `policy.AttentionPolicy.key`; "" for dense.
    """
    by = adapted if isinstance(adapted, str) else "adapted" if adapted else "plain"
    read = f"{by}{'+' if attention else ''}{attention}"
    return f"{fingerprint}/{read}/{namespace or ''}"

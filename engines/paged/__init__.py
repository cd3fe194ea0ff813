"""The KV cache of a local model: pages, what sequences share, and attention over them."""

"""Keys or values out of pages, in plain torch."""

from __future__ import annotations

import torch


def in_a_row(pages: torch.Tensor, block_table: torch.Tensor | None, kv_len: int) -> torch.Tensor:
    """[kv_len, heads, dim]: of pages [pages, heads, tokens, dim] by their table, or of what lies in a row already."""
    if block_table is None:
        return pages[:kv_len]
    used = pages[block_table[: -(-kv_len // pages.shape[2])].long()]
    return used.transpose(1, 2).flatten(0, 1)[:kv_len]

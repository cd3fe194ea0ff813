"""The network that the pruner is trained as: an encoder, a head for each token, and one for the whole passage."""

from __future__ import annotations

from typing import Any

import torch


class PrunerModel(torch.nn.Module):
    """As `turnout.compression.cross_encoder` computes it.

    Args:
        encoder: BERT, wrapped in an adapter.
        hidden: size of its states.
    """

    def __init__(self, encoder: Any, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.keep = torch.nn.Linear(hidden, 1)
        self.relevance = torch.nn.Linear(hidden, 1)

    def forward(self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of every token [pairs, length] and of every pair [pairs]; the arguments are [pairs, length]."""
        hidden = self.encoder(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state
        return self.keep(hidden)[..., 0], self.relevance(hidden[:, 0])[..., 0]

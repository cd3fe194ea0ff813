"""Makes soft tokens with a loaded network: thousands of short pieces, none of which sees another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from turnout.engines.device import memory_of
from turnout.engines.soft.concepts import alike, concepts, marked, pooled
from turnout.engines.soft.weights import Loaded, switched_on
from turnout.progress import Watch

POSITIONS = 4096
"""That go through the network at once, those of end markers among them."""


def made(
    network: Any, device: str, pieces: Sequence[Sequence[int]], rate: int, loaded: Loaded | None, watch: Watch
) -> list[torch.Tensor]:
    """[groups, hidden] of each piece, on the CPU.

    Args:
        pieces: token ids, none without any.
        loaded: trained weights; by default soft tokens are the means of embeddings, and nothing is read.

    Raises:
        Cancelled: the watch said so after a batch.
        MemoryLimitError: the device has no memory left.
    """
    embed = network.get_input_embeddings()
    found: dict[int, torch.Tensor] = {}
    for places in alike(pieces, POSITIONS, rate):
        ids = torch.tensor([list(pieces[place]) for place in places], device=device)
        with memory_of(device, f"for {len(places):,} pieces of a document"), torch.inference_mode():
            embedded = embed(ids)
            if loaded is None:
                values = pooled(embedded.float(), rate)
            else:
                outputs = _read(network, loaded, marked(embedded, loaded.end, rate))[:, ids.shape[1] :]
                values = concepts(embedded.float(), outputs.float(), loaded.linear.float(), rate)
            kept = values.to(embedded.dtype).cpu()
        for place, value in zip(places, kept, strict=True):
            found[place] = value
        if loaded is not None:
            watch.read(ids.numel() + kept.shape[0] * kept.shape[1])
        watch.go_on()
    return [found[place] for place in range(len(pieces))]


def _read(network: Any, loaded: Loaded, embedded: torch.Tensor) -> torch.Tensor:
    """[pieces, positions, hidden], after the last norm; each piece by itself, from position 0."""
    with switched_on(network, loaded):
        hidden: torch.Tensor = network.base_model(
            inputs_embeds=embedded,
            position_ids=torch.arange(embedded.shape[1], device=embedded.device)[None].expand(len(embedded), -1),
            use_cache=False,
            is_apart=True,
        ).last_hidden_state
    return hidden

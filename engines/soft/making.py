"""Makes soft tokens with a loaded network: thousands of short pieces, none of which sees another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from turnout.engines.device import memory_of
from turnout.engines.soft.concepts import alike, concepts, marked, pooled
from turnout.engines.soft.weights import Loaded, switched_on
from turnout.progress import Watch

Run = Callable[[Callable[[], torch.Tensor]], torch.Tensor]

POSITIONS = 4096
"""That go through the network at once, those of end markers among them."""


def made(
    network: Any,
    device: str,
    pieces: Sequence[Sequence[int]],
    rate: int,
    loaded: Loaded | None,
    watch: Watch,
    run: Run = lambda work: work(),
) -> list[torch.Tensor]:
    """[groups, hidden] of each piece, on the CPU.

    Args:
        pieces: token ids, none without any.
        loaded: trained weights; by default soft tokens are the means of embeddings, and nothing is read.
        run: does what needs the network, a batch at a time.

    Raises:
        Cancelled: the watch said so after a batch.
        MemoryLimitError: the device has no memory left.
    """
    found: dict[int, torch.Tensor] = {}
    for places in alike(pieces, POSITIONS, rate):
        ids = torch.tensor([list(pieces[place]) for place in places], device=device)
        kept = run(partial(_batch, network, device, ids, rate, loaded))
        for place, value in zip(places, kept, strict=True):
            found[place] = value
        if loaded is not None:
            watch.read(ids.numel() + kept.shape[0] * kept.shape[1])
        watch.go_on()
    return [found[place] for place in range(len(pieces))]


def _batch(network: Any, device: str, ids: torch.Tensor, rate: int, loaded: Loaded | None) -> torch.Tensor:
    """[pieces, groups, hidden] of pieces that are alike in length."""
    with memory_of(device, f"for {len(ids):,} pieces of a document"), torch.inference_mode():
        embedded = network.get_input_embeddings()(ids)
        if loaded is None:
            values = pooled(embedded.float(), rate)
        else:
            outputs = _read(network, loaded, marked(embedded, loaded.end, rate))[:, ids.shape[1] :]
            values = concepts(embedded.float(), outputs.float(), loaded.linear.float(), rate)
        return values.to(embedded.dtype).cpu()


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

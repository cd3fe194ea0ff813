"""The arithmetic of soft tokens, for the engine and for training alike (CompLLM, arXiv 2509.19228).

A document's tokens are cut into pieces, each of which is read alone: its embeddings, then one end marker for every
`rate` tokens of it. The last layer's output at a marker, through a linear layer, is the soft token of its group of
tokens. The paper leaves open what follows; here a soft token begins as the mean of its group's embeddings, to which the
linear layer adds, and gets the mean norm of those embeddings: a frozen model has never read embeddings of another size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch

EPSILON = 1e-12


def pooled(embedded: torch.Tensor, rate: int) -> torch.Tensor:
    """[pieces, groups, hidden]: the mean of each group's embeddings [pieces, tokens, hidden], with their mean norm."""
    return scaled(torch.stack([group.mean(1) for group in _groups(embedded, rate)], 1), embedded, rate)


def scaled(concepts: torch.Tensor, embedded: torch.Tensor, rate: int) -> torch.Tensor:
    """`concepts` [pieces, groups, hidden], each with the mean norm of its group of [pieces, tokens, hidden]."""
    norms = torch.stack([torch.linalg.vector_norm(group, dim=-1).mean(1) for group in _groups(embedded, rate)], 1)
    found: torch.Tensor = concepts * (norms / torch.linalg.vector_norm(concepts, dim=-1).clamp_min(EPSILON))[..., None]
    return found


def _groups(embedded: torch.Tensor, rate: int) -> list[torch.Tensor]:
    return [embedded[:, begin : begin + rate] for begin in range(0, embedded.shape[1], rate)]


def marked(embedded: torch.Tensor, end: torch.Tensor, rate: int) -> torch.Tensor:
    """[pieces, tokens + groups, hidden]: the embeddings [pieces, tokens, hidden] with an end marker [hidden] for each
    group after them."""
    pieces, tokens, hidden = embedded.shape
    return torch.cat([embedded, end.expand(pieces, -(-tokens // rate), hidden)], 1)


def concepts(embedded: torch.Tensor, outputs: torch.Tensor, linear: torch.Tensor, rate: int) -> torch.Tensor:
    """[pieces, groups, hidden] soft tokens.

    Args:
        embedded: [pieces, tokens, hidden].
        outputs: [pieces, groups, hidden], of the last layer at the end markers.
        linear: [hidden, hidden].
    """
    return scaled(pooled(embedded, rate) + outputs @ linear.T, embedded, rate)


def alike(pieces: Sequence[Sequence[int]], positions: int, rate: int) -> Iterator[list[int]]:
    """Places of pieces that are read at once: all as long as each other, so that none is padded, and at most so many
    positions together, end markers included."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for place, piece in enumerate(pieces):
        by_length[len(piece)].append(place)
    for length, places in sorted(by_length.items()):
        each = length + -(-length // rate)
        most = max(positions // max(each, 1), 1)
        for begin in range(0, len(places), most):
            yield places[begin : begin + most]

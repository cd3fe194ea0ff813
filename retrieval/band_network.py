"""The network of LDAR's policy (arXiv 2509.21865): a set of similarities in, two Beta distributions out.

Sizes and parts are those of the authors' code: periodic embeddings of each similarity (Gorishniy et al., arXiv
2203.05556) through a small transformer without positions, beside a plain network that is averaged, both together into a
head. Ours are four things. The head is also told how many passages there are: the authors train one policy for each
length of documents, here one serves all. Alpha and beta are at least 1, so that a distribution has one peak, and grow
exponentially with what the head says, because near the top of a long ranking a band is told by a thousandth. The
frequencies begin at 1 and not at 0.01, with which similarities that lie near each other look all alike at first. And of
more than MOST similarities as many are looked at, evenly spread over the ranking.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

FREQUENCIES, FREQUENCY_SCALE = 48, 1.0
WIDTH, LAYERS, HEADS = 256, 2, 4
MOST = 512
"""Similarities that are looked at, at most: attention takes the square of their number."""

LARGEST = 8.0
"""Of the logarithm of alpha - 1 and beta - 1."""


class BandNetwork(torch.nn.Module):
    """Does not mind the order of what it is given.

    Args:
        width, layers: of the transformer; `width` is a multiple of HEADS.
    """

    def __init__(self, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.frequencies = torch.nn.Parameter(FREQUENCY_SCALE * torch.randn(FREQUENCIES))
        self.lifted = torch.nn.Linear(2 * FREQUENCIES, width)
        self.summary = torch.nn.Parameter(torch.zeros(width))
        block = torch.nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, norm_first=True, batch_first=True)
        self.mixed = torch.nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.plain = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.ReLU(), torch.nn.Linear(width, width))
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Sequential(torch.nn.Linear(width + 1, width), torch.nn.GELU(), torch.nn.Linear(width, 4))

    def forward(self, similarities: torch.Tensor, inside: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Alpha and beta of a band's `high` and of its `width`.

        Args:
            similarities: [sets, most]; what is not `inside` [sets, most] does not count.
            sizes: how many passages each set stands for, [sets].

        Returns:
            [sets, 2, 2]: of high and width, alpha and beta, each above 1.
        """
        angles = 2 * math.pi * similarities[..., None] * self.frequencies
        lifted = torch.relu(self.lifted(torch.cat([angles.sin(), angles.cos()], -1)))
        summary = self.summary.expand(len(lifted), 1, -1)
        is_known = torch.cat([torch.ones_like(inside[:, :1]), inside], 1)
        mixed = self.mixed(torch.cat([summary, lifted], 1), src_key_padding_mask=~is_known)[:, 0]
        share = inside / inside.sum(1, keepdim=True)
        averaged = (self.plain(similarities[..., None]) * share[..., None]).sum(1)
        known = torch.cat([self.norm(mixed + averaged), sizes.float().log()[:, None]], -1)
        found: torch.Tensor = 1 + self.head(known).clamp(-LARGEST, LARGEST).exp()
        return found.reshape(-1, 2, 2)


def means(parameters: torch.Tensor) -> torch.Tensor:
    """[sets, 2]: the mean of each Beta distribution of `BandNetwork.forward`."""
    return parameters[..., 0] / parameters.sum(-1)


def looked_at(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most MOST of them, in order, evenly spread over the ranking, the highest and the lowest included."""
    ordered = np.sort(similarities)
    if len(ordered) <= MOST:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST).round().astype(np.intp)]

"""Fits LDAR's policy to a table of rewards.

What a policy is worth on a question is exact: the bands of the table share the probability that its distributions give
them, and the expected reward is the sum over all of them. So nothing is drawn, and no baseline or replay is needed,
which the paper's own training has (arXiv 2509.21865).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from turnout.progress import Progress
from turnout.retrieval.band import Band
from turnout.retrieval.band_network import BandNetwork, looked_at, means
from turnout.training.band_table import LdarRecipe, Row

CURVE_EVERY = 20
LONGEST_STEP = 1.0
"""Of the gradient: a few questions have rewards far from the others."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as tensors, each as long as the longest.

    Attributes:
        similarities, inside: [rows, passages].
        sizes: passages that there are, [rows].
        quantiles: high and width of each band, [rows, bands, 2].
        rewards, known: [rows, bands]. Rewards have their row's mean taken off, and a spread of 1 over all.
    """

    similarities: torch.Tensor
    inside: torch.Tensor
    sizes: torch.Tensor
    quantiles: torch.Tensor
    rewards: torch.Tensor
    known: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Table:
        """Of rows that tell something."""
        seen = [looked_at(np.array(row.similarities, np.float32)) for row in rows]
        length, bands = max(map(len, seen)), max(len(row.bands) for row in rows)
        similarities, quantiles = torch.zeros(len(rows), length), torch.full((len(rows), bands, 2), 0.5)
        inside = torch.zeros(len(rows), length, dtype=torch.bool)
        rewards, known = torch.zeros(len(rows), bands), torch.zeros(len(rows), bands, dtype=torch.bool)
        for number, (row, values) in enumerate(zip(rows, seen, strict=True)):
            similarities[number, : len(values)] = torch.from_numpy(values)
            inside[number, : len(values)] = True
            for place, (first, count) in enumerate(row.bands):
                band = Band.of(first, count, len(row.similarities))
                quantiles[number, place] = torch.tensor([band.high, band.width])
            given = torch.tensor(row.rewards)
            rewards[number, : len(given)] = given - given.mean()
            known[number, : len(given)] = True
        spread = rewards[known].std()
        sizes = torch.tensor([len(row.similarities) for row in rows])
        return cls(similarities, inside, sizes, quantiles, rewards / spread.clamp_min(1e-6), known)

    def some(self, picked: torch.Tensor) -> Table:
        """The rows of these numbers."""
        return Table(*(getattr(self, name)[picked] for name in self.__dataclass_fields__))

    def shares(self, parameters: torch.Tensor) -> torch.Tensor:
        """[rows, bands]: the probability of each band among those of its row.

        Args:
            parameters: of `BandNetwork`, [rows, 2, 2].
        """
        logs = torch.stack([self.quantiles.log(), (1 - self.quantiles).log()], -1)  # [rows, bands, 2, 2]
        # What makes each density integrate to 1 is the same for all bands, and falls away.
        densities = ((parameters - 1)[:, None] * logs).sum((-1, -2))
        return densities.masked_fill(~self.known, -torch.inf).softmax(-1)

    def astray(self, parameters: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """[rows]: how far the means, which are what is used, lie from the mean over the bands, in squares of the bands'
        own range. The shares alone say nothing of what lies beyond the bands or between them."""
        known = self.known[..., None]
        least = self.quantiles.masked_fill(~known, 1.0).amin(1)
        most = self.quantiles.masked_fill(~known, 0.0).amax(1)
        middle = (shares.detach()[..., None] * self.quantiles).sum(1)
        range_ = (most - least).clamp_min(1e-3)
        return (((means(parameters) - middle) / range_) ** 2).sum(-1)


def fit(rows: Sequence[Row], recipe: LdarRecipe, progress: Progress) -> tuple[BandNetwork, list[dict[str, float]]]:
    """A network, and its curve: the expected reward and the entropy (nats) over the bands, step by step.

    Args:
        rows: those that tell something, at least one.
    """
    torch.manual_seed(recipe.seed)
    network, table = BandNetwork(recipe.width, recipe.layers), Table.of(rows)
    optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate)
    curve: list[dict[str, float]] = []
    for step in range(recipe.steps):
        some = table.some(torch.randperm(len(rows))[: recipe.batch])
        parameters = network(some.similarities, some.inside, some.sizes)
        shares = some.shares(parameters)
        gain = (shares * some.rewards).sum(1).mean()
        entropy = -(shares * shares.clamp_min(1e-9).log()).sum(1).mean()
        weight = recipe.entropy * (1 - step / recipe.steps)
        optimiser.zero_grad()
        torch.autograd.backward([some.astray(parameters, shares).mean() - gain - weight * entropy])
        torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_STEP)
        optimiser.step()
        if step % CURVE_EVERY == 0 or step == recipe.steps - 1:
            curve.append({"step": step, "gain": round(gain.item(), 4), "entropy": round(entropy.item(), 4)})
        progress("training", step + 1, recipe.steps)
    return network.eval(), curve


def best_fixed(rows: Sequence[Row], recipe: LdarRecipe) -> tuple[int, int]:
    """The band of the recipe that all questions together are best read with."""
    centred: Mapping[str, float] = {row.id: float(np.mean(row.rewards)) for row in rows}

    def worth(band: tuple[int, int]) -> float:
        return float(np.mean([row.rewards[nearest(row, band)] - centred[row.id] for row in rows]))

    return max(recipe.bands, key=worth)


def nearest(row: Row, band: tuple[int, int]) -> int:
    """Which of a row's bands a fixed one is: the largest of those that begin alike and are not larger, where there was
    no room for more; else the first."""
    fitting = [place for place, (first, count) in enumerate(row.bands) if first == band[0] and count <= band[1]]
    return max(fitting, key=lambda place: row.bands[place][1], default=0)

"""LoRA that is on for some sequences of a step and off for others.

y = W x + B A x * alpha / rank, where the second part is added to the rows of adapted sequences alone. A merged adapter
costs nothing and is on for all; this one costs two small products a matrix, and only while a row wants it. Several
adapters may lie beside the same weights, each with a switch of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from turnout.engines.paged.kinds import Adapted


class Switch:
    """Which rows of the running step read with an adapter: all, none, or those where `rows` [rows, 1] is 1.

    Args:
        key: what the adapter is asked for by.
    """

    rows: torch.Tensor | bool = False

    def __init__(self, key: Adapted = True) -> None:
        self._key = key

    def set(self, asked: Sequence[Adapted], like: torch.Tensor) -> None:
        """For the rows of a step, what each one reads with."""
        wanted = [each == self._key for each in asked]
        if all(wanted) or not any(wanted):
            self.rows = wanted[0]
        else:
            self.rows = torch.tensor(wanted, dtype=like.dtype, device=like.device)[:, None]

    def added(self, plain: torch.Tensor, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """plain [..., out], and for adapted rows the adapter's part of x [..., in]."""
        if self.rows is False:
            return plain
        part = (x @ down.T) @ up.T
        return plain + (part if self.rows is True else part * self.rows)


class SwitchedLinear(nn.Module):
    """A linear layer with an adapter.

    Args:
        linear: the layer, or one of these, with another adapter.
        down: [rank, in]; up: [out, rank], scaled.
    """

    linear: nn.Linear | SwitchedLinear

    def __init__(
        self, linear: nn.Linear | SwitchedLinear, down: torch.Tensor, up: torch.Tensor, switch: Switch
    ) -> None:
        super().__init__()
        self.linear, self.switch = linear, switch
        self.down, self.up = nn.Buffer(down, persistent=False), nn.Buffer(up, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        return self.linear.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain: torch.Tensor = self.linear(x)
        return self.switch.added(plain, x, self.down, self.up)


def joined(linears: Sequence[nn.Module]) -> Iterator[tuple[Switch, torch.Tensor, torch.Tensor]]:
    """Of each adapter of layers that read the same input, its switch and (down [ranks, in], up [out, ranks]), one layer
    below the other; a layer without the adapter has nothing in it."""
    block_diagonal: Any = torch.block_diag
    layers = [{each.switch: each for each in _adapters(linear)} for linear in linears]
    for switch in dict.fromkeys(switch for layer in layers for switch in layer):
        downs: list[torch.Tensor] = []
        ups: list[torch.Tensor] = []
        for linear, layer in zip(linears, layers, strict=True):
            if switch in layer:
                downs.append(layer[switch].down)
                ups.append(layer[switch].up)
            else:
                weight = linear.get_parameter("weight")
                downs.append(weight[:0])
                ups.append(weight[:, :0])
        yield switch, torch.cat(downs), block_diagonal(*ups)


def _adapters(linear: nn.Module) -> Iterator[SwitchedLinear]:
    """Those of one layer, the first one that was put there first."""
    if isinstance(linear, SwitchedLinear):
        yield from _adapters(linear.linear)
        yield linear

"""LoRA that is on for some sequences of a step and off for others.

y = W x + B A x * alpha / rank, where the second part is added to the rows of adapted sequences alone. A merged adapter
costs nothing and is on for all; this one costs two small products a matrix, and only while a row wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class Switch:
    """Which rows of the running step read with the adapter: all, none, or those where `rows` [rows, 1] is 1."""

    rows: torch.Tensor | bool = False

    def set(self, wanted: list[bool], like: torch.Tensor) -> None:
        """For the rows of a step, one truth each."""
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
        down: [rank, in]; up: [out, rank], scaled.
    """

    def __init__(self, linear: nn.Linear, down: torch.Tensor, up: torch.Tensor, switch: Switch) -> None:
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


def joined(linears: Sequence[nn.Module]) -> tuple[torch.Tensor, torch.Tensor]:
    """(down [ranks, in], up [out, ranks]) of layers that read the same input, one below the other; a layer without an
    adapter has nothing in it."""
    downs: list[torch.Tensor] = []
    ups: list[torch.Tensor] = []
    for linear in linears:
        if isinstance(linear, SwitchedLinear):
            downs.append(linear.down)
            ups.append(linear.up)
        else:
            weight = linear.get_parameter("weight")
            downs.append(weight[:0])
            ups.append(weight[:, :0])
    block_diagonal: Any = torch.block_diag
    return torch.cat(downs), block_diagonal(*ups)

"""Linear layers and norms of a network as plain functions; layers that read the same input are one matrix.

Weights may be int8, with one scale a row: a step then reads a half or a quarter of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Function = Callable[["torch.Tensor"], "torch.Tensor"]
"""[..., in] -> [..., out]"""

FEW_ROWS = 4
"""Up to so many rows a CPU multiplies in float32 faster with the rows first; from there on with the weights first."""

BLOCK = 2048
"""Rows that are rounded at once: what that takes beside them stays small."""

Join = Callable[[Sequence[Any]], Function]
"""Linear layers with the same input -> one function that gives their outputs one after the other."""


def norm(module: Any) -> Function:
    """A LayerNorm of torch, or a norm of root mean squares (every other one of the models that are known here)."""
    import torch

    weight = module.weight
    if isinstance(module, torch.nn.LayerNorm):
        bias, eps = module.bias, module.eps
        return lambda x: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)
    eps = module.variance_epsilon
    return lambda x: torch.nn.functional.rms_norm(x, weight.shape, weight, eps)


def plain(linears: Sequence[Any]) -> Function:
    """The layers' matrices one below the other; the layers get views of it, so that nothing is there twice."""
    import torch

    bias = _bias(linears)
    if len(linears) == 1:
        weight = linears[0].weight
    else:
        weight = torch.cat([linear.weight.data for linear in linears])
        for linear, view in zip(linears, torch.split(weight, [len(linear.weight) for linear in linears]), strict=True):
            linear.weight.data = view
    is_cpu_float = weight.device.type == "cpu" and weight.dtype == torch.float32

    def product(x: torch.Tensor) -> torch.Tensor:
        if not is_cpu_float or x.dim() != 2 or len(x) <= FEW_ROWS:
            return torch.nn.functional.linear(x, weight, bias)
        found: torch.Tensor = (weight @ x.T).T.contiguous()
        return found if bias is None else found + bias

    return _switched(linears, product)


def int8(linears: Sequence[Any]) -> Function:
    """The same by a copy in int8: w = scale of its row * a whole number from -127 to 127. Inputs are rounded to
    bfloat16, for which alone torch's product is fast."""
    import torch

    bias = _bias(linears)
    blocks = [_rounded(rows) for linear in linears for rows in linear.weight.data.split(BLOCK)]
    whole, scales = (torch.cat(parts) for parts in zip(*blocks, strict=True))

    def product(x: torch.Tensor) -> torch.Tensor:
        found = torch._weight_int8pack_mm(x.bfloat16(), whole, scales).to(x.dtype)
        return found if bias is None else found + bias

    return _switched(linears, product)


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in int8 and their scales."""
    import torch

    # The scale is rounded first: it is the rounded one that the product is multiplied by.
    scales = (weight.abs().amax(1).float().clamp(min=1e-12) / 127).bfloat16()
    whole = weight.float().div(scales.float()[:, None]).round_().clamp_(-127, 127)
    return whole.to(torch.int8), scales


def _bias(linears: Sequence[Any]) -> torch.Tensor | None:
    import torch

    return None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])


def _switched(linears: Sequence[Any], function: Function) -> Function:
    """With the layers' adapters, where they have some that can be switched."""
    from turnout.engines.paged.switched import joined

    adapters = list(joined(linears))
    if not adapters:
        return function

    def added(x: torch.Tensor) -> torch.Tensor:
        found = function(x)
        for switch, down, up in adapters:
            found = switch.added(found, x, down, up)
        return found

    return added

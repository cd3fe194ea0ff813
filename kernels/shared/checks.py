"""What the kernels' public functions check before anything is launched."""

from __future__ import annotations

import torch

from turnout.errors import KernelError

DIMS = (16, 32, 64, 128, 256)
"""Numbers of a head that tiles can have."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def wrong(op: str, message: str) -> KernelError:
    return KernelError(message, hint=f"shapes and types are in turnout.kernels.{op}.api")


def places(op: str, **tensors: torch.Tensor | None) -> None:
    """All on one device, each with its last dimension together in memory.

    Raises:
        KernelError: they are not.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    devices = {name: str(tensor.device) for name, tensor in given.items()}
    if len(set(devices.values())) > 1:
        raise wrong(op, f"the inputs lie on several devices: {devices}")
    for name, tensor in given.items():
        if tensor.dim() and tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
            raise wrong(op, f"{name} has strides {tensor.stride()}: its last dimension must lie together in memory")


def aligned(op: str, **tensors: torch.Tensor) -> None:
    """Tensors that can be read by TMA: beginning and strides in steps of 16 bytes.

    Raises:
        KernelError: they are not.
    """
    for name, tensor in tensors.items():
        steps = [stride * tensor.element_size() for stride in tensor.stride()[:-1]]
        if tensor.data_ptr() % 16 or any(step % 16 for step in steps):
            raise wrong(
                op, f"{name} begins at {tensor.data_ptr()} with strides of {steps} bytes: steps of 16 are needed"
            )


def floats(op: str, **tensors: torch.Tensor) -> None:
    """One floating type that kernels know.

    Raises:
        KernelError: they have another one, or several.
    """
    kinds = {name: str(tensor.dtype) for name, tensor in tensors.items()}
    if len(set(kinds.values())) > 1 or next(iter(tensors.values())).dtype not in FLOATS:
        raise wrong(op, f"the inputs are {kinds}: one type of float16, bfloat16 and float32 is needed")


def integers(op: str, kind: torch.dtype, **tensors: torch.Tensor | None) -> None:
    """Raises KernelError: one is not of that type."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != kind:
            raise wrong(op, f"{name} is {tensor.dtype}: it must be {kind}")


def heads(op: str, query_heads: int, key_heads: int, dim: int) -> None:
    """Raises KernelError: the query heads can't share the key heads, or the heads' size is not supported."""
    if not key_heads or not query_heads or query_heads % key_heads:
        raise wrong(op, f"{query_heads} query heads can't share {key_heads} key heads evenly")
    if dim not in DIMS:
        raise wrong(op, f"heads of {dim} numbers are not supported, only of {DIMS}")


def power_of_two(op: str, least: int, **sizes: int) -> None:
    """Raises KernelError: one is not, or is smaller than `least`."""
    for name, size in sizes.items():
        if size < least or size & (size - 1):
            raise wrong(op, f"{name} is {size}: it must be a power of two, {least} or more")


def within(op: str, name: str, tensor: torch.Tensor, low: int, high: int, *, validate: bool | None) -> None:
    """All values are from `low` on and below `high`.

    Args:
        validate: True looks at them even on a GPU, which waits for it; None where they lie on the host; False never.
            Kernels leave out tiles, pages and slots that are out of range.

    Raises:
        KernelError: one is out of range; it is named.
    """
    if not looked_at(tensor, validate) or not tensor.numel():
        return
    least, most = int(tensor.min()), int(tensor.max())
    if least < low or most >= high:
        raise wrong(op, f"{name} holds {least if least < low else most}, outside of {low} to {high - 1}")


def looked_at(tensor: torch.Tensor, validate: bool | None) -> bool:
    """Whether a tensor's values are checked; see `within`."""
    return tensor.device.type == "cpu" if validate is None else validate

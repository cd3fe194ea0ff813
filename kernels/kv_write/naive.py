"""Writing keys and values into pages, token by token: the truth that the kernel is held to."""

from __future__ import annotations

import torch

SUB_PAGE = 16
"""Tokens that share a minimum and a maximum."""


def kv_write(
    k: torch.Tensor, v: torch.Tensor, pages: torch.Tensor, slots: torch.Tensor, stats: torch.Tensor | None = None
) -> None:
    """See `api.kv_write`."""
    size = pages.shape[3]
    written: dict[int, int] = {}
    for token, slot in enumerate(slots.tolist()):
        if slot >= 0:
            pages[slot // size, 0, :, slot % size] = k[token]
            pages[slot // size, 1, :, slot % size] = v[token]
            written[slot // SUB_PAGE] = max(written.get(slot // SUB_PAGE, 0), slot)
    if stats is not None:
        for slot in written.values():
            refresh(pages, stats, slot)


def refresh(pages: torch.Tensor, stats: torch.Tensor, slot: int) -> None:
    """Minimum and maximum of the sub-page that ends with the slot's token, for now."""
    size = pages.shape[3]
    page, last = slot // size, slot % size
    sub = last // SUB_PAGE
    keys = pages[page, 0, :, sub * SUB_PAGE : last + 1]
    stats[page, :, sub, 0] = rounded(keys.amin(1), up=False, kind=stats.dtype)
    stats[page, :, sub, 1] = rounded(keys.amax(1), up=True, kind=stats.dtype)


def rounded(numbers: torch.Tensor, *, up: bool, kind: torch.dtype) -> torch.Tensor:
    """To the nearest number of the type that is not below, or not above: a bound stays one."""
    near = numbers.to(kind)
    limit = torch.full_like(near, torch.inf if up else -torch.inf)
    beyond = near.to(numbers.dtype) < numbers if up else near.to(numbers.dtype) > numbers
    return torch.where(beyond, torch.nextafter(near, limit), near)

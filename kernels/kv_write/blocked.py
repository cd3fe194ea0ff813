"""Writing keys and values into pages, all tokens at once in plain torch."""

from __future__ import annotations

import torch

from turnout.kernels.kv_write.naive import SUB_PAGE, rounded


def kv_write(
    k: torch.Tensor, v: torch.Tensor, pages: torch.Tensor, slots: torch.Tensor, stats: torch.Tensor | None = None
) -> None:
    """See `api.kv_write`."""
    size = pages.shape[3]
    real = slots >= 0
    page, place = slots[real] // size, slots[real] % size
    pages[page, 0, :, place] = k[real]
    pages[page, 1, :, place] = v[real]
    if stats is not None:
        refresh(pages, stats, slots)


def refresh(pages: torch.Tensor, stats: torch.Tensor, slots: torch.Tensor) -> None:
    """Minima and maxima of the sub-pages of the slots, up to the highest slot of each."""
    size = pages.shape[3]
    ordered = slots.sort().values
    last = ordered >= 0
    last[:-1] &= ordered[1:] // SUB_PAGE != ordered[:-1] // SUB_PAGE
    slot = ordered[last]
    page, sub = slot // size, slot % size // SUB_PAGE
    places = sub[:, None] * SUB_PAGE + torch.arange(SUB_PAGE, device=slots.device)
    keys = pages[page[:, None], 0, :, places]  # [sub-pages, 16, heads, dim]
    later = (places > (slot % size)[:, None])[:, :, None, None]
    stats[page, :, sub, 0] = rounded(keys.masked_fill(later, torch.inf).amin(1), up=False, kind=stats.dtype)
    stats[page, :, sub, 1] = rounded(keys.masked_fill(later, -torch.inf).amax(1), up=True, kind=stats.dtype)
